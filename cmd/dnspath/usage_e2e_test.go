//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dnspath/dnspath/internal/lab"
)

// result is what a finished tool left.
type result struct {
	status         int
	stdout, stderr string
}

// runTool runs the program with args, as the given user.
func runTool(t *testing.T, program string, uid uint32, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience(3*time.Second))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil || !cmd.ProcessState.Exited() {
		t.Fatalf("%s %q did not end by itself: %v: %s", program, args, err, &stderr)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// checkOneLine checks that a failed tool said why in one line, on stderr alone.
func checkOneLine(t *testing.T, r result, status int, phrases ...string) {
	t.Helper()
	if r.status != status || r.stdout != "" {
		t.Errorf("status %d, stdout %q; want %d and none", r.status, r.stdout, status)
	}
	if strings.Count(r.stderr, "\n") != 1 || !strings.HasSuffix(r.stderr, "\n") || !strings.HasPrefix(r.stderr, "dnspath: ") {
		t.Errorf("stderr is not one line of dnspath's: %q", r.stderr)
	}
	for _, phrase := range phrases {
		if !strings.Contains(r.stderr, phrase) {
			t.Errorf("stderr does not say %q: %q", phrase, r.stderr)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	sameEverywhere(t, "usage")
	for _, c := range []struct {
		args string
		says string
	}{
		{"nonsense", `unknown command "nonsense"`},
		{"trace extra", `"extra"`},
		{"trace --nonsense", "--nonsense"},
		{"--nonsense", "--nonsense"},
		{"-x", "-x"},
		{"probes extra", `"extra"`},
		{"version extra", `"extra"`},
		{"version --nonsense", "--nonsense"},
		{"--client 10.244.1", `--client: "10.244.1"`},
		{"--client 10.244.1.0/33", `--client: "10.244.1.0/33"`},
		{"--client=", "--client"},
		{"--server=", "--server"},
		{"--port=", "--port"},
		{"--rules guess", `--rules: "guess"`},
		{"--vxlan-port=", "--vxlan-port"},
		{"--server example.test", `--server: "example.test"`},
		{"--server 10.0.0.1:53", `--server: "10.0.0.1:53"`},
		{"--port 0", `--port: "0"`},
		{"--port 65536", `--port: "65536"`},
		{"--port x", `--port: "x"`},
		{"--port -1", `--port: "-1"`},
		{"--port 53,,54", "--port"},
		{"--port 1,2,3,4,5,6,7,8,9", "--port: 9 ports"},
		{"--vxlan-port 0", `--vxlan-port: "0"`},
		{"--vxlan-port 1 --vxlan-port 2,3,4,5,6,7,8,9", "--vxlan-port: 9 ports"},
		{"--duration nonsense", "--duration"},
		{"--duration 5", "--duration"},
		{"--duration 0s", "--duration"},
		{"--duration -1s", "--duration"},
		{"--timeout -1s", "--timeout"},
		{"--timeout 0s", "--timeout"},
		{"--count 0", "--count"},
		{"--count -1", "--count"},
		{"--count x", "--count"},
		{"--count 1 --count 2", "--count is given twice"},
		{"--timeout 1s --timeout 1s", "--timeout is given twice"},
		{"-o json --output text", "--output is given twice"},
		{"--slower 0s", "--slower"},
		{"--slower 5s", "--slower: 5s is not less than --timeout"},
		{"--slower x", "--slower"},
		{"analyze --slower -1s a.json", "--slower"},
		{"-o xml", `"xml"`},
		{"--output=", "--output"},
		{"--type NONSENSE", `"NONSENSE"`},
		{"--type TYPE65536", `"TYPE65536"`},
		{"--type TYPE1x", `"TYPE1x"`},
		{"--type=", "--type"},
		{"--name [", `"["`},
		{"--name=", "--name"},
		{"--netns no-such-namespace", `"no-such-namespace"`},
		{"--netns /no/such/path", "/no/such/path"},
		{"--netns /etc/passwd", "/etc/passwd"},
		{"--netns=", "--netns"},
		{"--events", "--events needs -o json"},
		{"--nf-hooks maybe", `"maybe"`},
		{"--passive --tc", "--passive"},
		{"--passive --nf-hooks on", "--passive"},
		{"--passive --rules exact", "--passive"},
		{"--rules maybe", `"maybe"`},
		{"--tc=[", `"["`},
		{"--ring-size 0", "--ring-size"},
		{"--ring-size 5000", "--ring-size"},
		{"--ring-size 2K", "--ring-size"},
		{"--ring-size 8m", "--ring-size"},
		{"--ring-size 2048M", "--ring-size"},
		{"--ring-size 99999999999999999999", "--ring-size"},
		{"--ring-size=", "--ring-size"},
		{"--count", "--count"},
		{"probes --count 1", "--count"},
		{"probes -o xml", `"xml"`},
		{"probes --passive --tc", "--passive"},
		{"analyze", "no file given"},
		{"analyze --nonsense a.json", "--nonsense"},
		{"analyze -o xml a.json", `"xml"`},
		{"analyze --type NONSENSE a.json", `"NONSENSE"`},
		{"analyze - -", "standard input is given twice"},
		{"--node=", "--node"},
	} {
		t.Run(c.args, func(t *testing.T) {
			checkOneLine(t, runTool(t, bin, 0, strings.Fields(c.args)...), 2, c.says)
		})
	}
}

func TestHelp(t *testing.T) {
	sameEverywhere(t, "usage")
	for _, args := range []string{"--help", "-h", "help", "trace --help", "trace -h", "probes --help", "version --help", "analyze --help"} {
		r := runTool(t, bin, 0, strings.Fields(args)...)
		if r.status != 0 || r.stderr != "" {
			t.Errorf("%s: status %d, stderr %q; want 0 and none", args, r.status, r.stderr)
		}
		for _, want := range []string{"Usage:\n  dnspath", "Example"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%s: the help does not say %q:\n%s", args, want, r.stdout)
			}
		}
		for line := range strings.Lines(r.stdout) {
			if strings.Contains(line, "\t") || strings.TrimRight(line, " \n")+"\n" != line {
				t.Errorf("%s: line %q has tabs or ends in blanks", args, line)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	sameEverywhere(t, "usage")
	for _, args := range []string{"version", "--version"} {
		if r := runTool(t, bin, 0, args); r.status != 0 || r.stderr != "" || !strings.HasPrefix(r.stdout, "dnspath ") || strings.Count(r.stdout, "\n") != 1 {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

func TestProbes(t *testing.T) {
	r := runTool(t, bin, 0, "probes")
	if r.status != 0 || r.stderr != "" {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
	checkPlain(t, r.stdout)
	for _, want := range []string{"kernel ", "HOP", "net_dev_queue", "nf_enter", "kfree_skb", "not asked for (--tc)"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the text does not say %q:\n%s", want, r.stdout)
		}
	}

	r = runTool(t, bin, 0, "probes", "--passive", "-o", "json")
	var rec probesRecord
	if err := json.Unmarshal([]byte(r.stdout), &rec); err != nil || r.status != 0 || r.stderr != "" {
		t.Fatalf("status %d, stderr %q, %v in %s", r.status, r.stderr, err, r.stdout)
	}
	if rec.Type != "probes" || rec.Schema != 1 || rec.Node == "" || rec.Kernel == "" {
		t.Errorf("record %+v", rec)
	}
	var attached []string
	for _, p := range rec.Probes {
		if p.Attached {
			attached = append(attached, p.Kind)
		} else if p.Note == "" {
			t.Errorf("%s is not attached, and nothing says why", p.Probe)
		}
	}
	if diff := cmp.Diff([]string{"tracepoint"}, slices.Compact(attached)); diff != "" {
		t.Errorf("--passive: kinds attached (-want +got):\n%s", diff)
	}
}

func TestNotRoot(t *testing.T) {
	// the tool itself may lie where only root can read it
	dir, err := os.MkdirTemp("", "dnspath-nobody-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(dir, "dnspath")
	if err := os.WriteFile(public, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // nobody must get at it
		t.Fatal(err)
	}
	const nobody = 65534
	for _, args := range [][]string{nil, {"trace", "-o", "json"}, {"probes"}} {
		checkOneLine(t, runTool(t, public, nobody, args...), 1, "CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "root")
	}
	if r := runTool(t, public, nobody, "--help"); r.status != 0 {
		t.Errorf("--help: %+v", r)
	}
}
