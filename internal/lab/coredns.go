package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// ClusterZone is the domain that the lab's CoreDNS answers for, as cluster DNS
// does: "web.default.svc" in it has Answer and Answer6, no other name exists.
const ClusterZone = "cluster.test."

// coreDNSEnv names the program, where it can't be built: guests have no network.
const coreDNSEnv = "DNSPATH_COREDNS"

// CoreDNSPath returns the path of a CoreDNS program: DNSPATH_COREDNS, or the one
// that scripts/coredns has built, or builds now, which takes a minute.
var CoreDNSPath = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(coreDNSEnv); path != "" {
		return path, nil
	}
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find this module: %w", err)
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "scripts", "coredns"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build coredns: %w: %s", err, stderr.Bytes())
	}
	return strings.TrimSpace(string(path)), nil
})

// StartCoreDNS runs the real CoreDNS in the namespace, and returns when it
// answers. It reads no file of the machine's.
func StartCoreDNS(ctx context.Context, ns *NS, opts DaemonOptions) (*Daemon, error) {
	opts = opts.complete(ns)
	program, err := CoreDNSPath()
	if err != nil {
		return nil, err
	}
	path, err := ns.writeFile("Corefile", corefile(opts))
	if err != nil {
		return nil, fmt.Errorf("start coredns: %w", err)
	}
	d, err := startDaemon(ctx, ns, opts, program, "-quiet", "-conf", path)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w: %s names it", err, coreDNSEnv)
	}
	return d, err
}

// corefile returns the configuration. Upstream servers are not asked for their
// health: that would be lookups of nobody's.
func corefile(opts DaemonOptions) string {
	known := Zone
	if opts.Upstream.IsValid() || opts.Alone {
		known = readyName
	}
	var t ruleText
	t.add(".:%d {", dnsPort)
	t.add("  bind %s", opts.Addr)
	t.add("  errors")
	if !opts.NoCache {
		t.add("  cache %d", answerTTL)
	}
	for _, zone := range []string{known, "web.default.svc." + ClusterZone} {
		t.add("  template IN A %s {\n    answer \"{{ .Name }} %d IN A %s\"\n  }", zone, answerTTL, Answer())
		t.add("  template IN AAAA %s {\n    answer \"{{ .Name }} %d IN AAAA %s\"\n  }", zone, answerTTL, Answer6())
	}
	soa := fmt.Sprintf(`%s %d IN SOA ns.%[1]s hostmaster.%[1]s 1 7200 1800 86400 %[2]d`, ClusterZone, answerTTL)
	t.add("  template IN ANY %s {\n    rcode NXDOMAIN\n    authority \"%s\"\n  }", ClusterZone, soa)
	if opts.Upstream.IsValid() {
		t.add("  forward . %s {\n    max_fails 0", opts.Upstream)
		if opts.UpstreamTCP {
			t.add("    force_tcp")
		}
		t.add("  }")
	}
	t.add("}")
	return t.String()
}
