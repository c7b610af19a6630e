//go:build e2e

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// The test binary is some tests' child too, with one of these set.
const (
	raiseEnv   = "DNSPATH_LAB_TEST_RAISE"   // raise a lab, print it and wait to be killed
	outsideEnv = "DNSPATH_LAB_TEST_OUTSIDE" // raise a lab without Isolate
)

func TestMain(m *testing.M) {
	if os.Getenv(outsideEnv) != "" {
		os.Exit(raiseOutside())
	}
	run := m.Run
	if os.Getenv(raiseEnv) != "" {
		run = raiseAndHang
	}
	status, err := Isolate(run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab tests:", err)
	}
	os.Exit(status)
}

// raiseOutside returns 0 if New refuses, as it should.
func raiseOutside() int {
	if _, err := New(context.Background(), Config{}); !errors.Is(err, ErrNotIsolated) {
		fmt.Fprintf(os.Stderr, "new lab gave %v, want ErrNotIsolated\n", err)
		return 1
	}
	return 0
}

// raiseAndHang prints the process id and the namespaces' numbers.
func raiseAndHang() int {
	ctx := context.Background()
	l, err := New(ctx, Config{Service: ServiceIPTables, Endpoints: []string{DNSB}})
	if err == nil {
		_, err = StartDnsmasq(ctx, l.DNSB, DaemonOptions{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Print(os.Getpid())
	for _, ns := range l.Namespaces() {
		fmt.Print(" ", ns.Inode())
	}
	fmt.Println()
	select {}
}

// sameEverywhere skips a test in which the kernel has little part where time is
// dear: it has run on the machine that this guest runs on. DNSPATH_ALL=1 runs it.
func sameEverywhere(t *testing.T, why string) {
	t.Helper()
	if Slowness() > 1 && os.Getenv("DNSPATH_ALL") == "" {
		t.Skipf("the same on every kernel: %s", why)
	}
}

// raise makes a lab for one test, with a DNS server in both DNS pods.
func raise(t *testing.T, cfg Config) *Lab {
	t.Helper()
	l := raiseBare(t, cfg)
	for _, ns := range []*NS{l.DNSA, l.DNSB} {
		if _, err := StartDNS(ns, DNSOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func raiseBare(t *testing.T, cfg Config) *Lab {
	t.Helper()
	start := time.Now()
	l, err := New(t.Context(), cfg)
	if errors.Is(err, ErrNotSupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("raised in %s", time.Since(start).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return l
}
