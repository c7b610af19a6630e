package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// boots is how often a guest is started that dies before its command begins,
// which says nothing about the command.
const boots = 3

// guest is a machine that runs one command under a kernel of Debian's. Its root
// is this machine's, which it can't change.
type guest struct {
	series string
	kernel string // folder made by scripts/vm/kernel
	init   string
}

// newGuest gets the kernel and builds the guest's first process.
func newGuest(ctx context.Context, series string) (guest, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "scripts/vm/kernel", series)
	cmd.Stderr = &stderr
	dir, err := cmd.Output()
	if err != nil {
		return guest{}, fmt.Errorf("get the kernel: %w: %s", err, stderr.Bytes())
	}
	g := guest{series: series, kernel: strings.TrimSpace(string(dir)), init: filepath.Join(folder, "init")}
	if err := build(ctx, "build", "-trimpath", "-ldflags=-s -w", "-o", g.init, "./scripts/vm/init"); err != nil {
		return guest{}, err
	}
	return g, nil
}

// run is the runner for a guest.
func (g guest) run(ctx context.Context, out io.Writer, c command) error {
	for try := 1; ; try++ {
		console, err := g.boot(ctx, out, c)
		status := regexp.MustCompile(`\] GUEST-EXIT (\d+)`).FindSubmatch(console)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case status != nil && string(status[1]) == "0":
			return nil
		case status != nil && bytes.Contains(console, []byte("GUEST-RUN")):
			n, err := strconv.Atoi(string(status[1]))
			if err != nil {
				return err
			}
			return &exitError{n}
		case try < boots && !bytes.Contains(console, []byte("GUEST-RUN")):
			continue
		case errors.Is(err, context.DeadlineExceeded):
			_, _ = out.Write(console)
			return fmt.Errorf("the guest did not end within %s", c.timeout)
		default:
			_, _ = out.Write(console) // what it wrote before counts as well
			return errors.Join(fmt.Errorf("the guest died: %s", lastWords(console)), err)
		}
	}
}

// boot runs the guest once and returns what its kernel wrote.
func (g guest) boot(ctx context.Context, out io.Writer, c command) (console []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	tmp, err := os.MkdirTemp("", "dnspath-vm-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	initrd := filepath.Join(tmp, "initrd")
	if err := g.writeInitrd(initrd, c); err != nil {
		return nil, fmt.Errorf("make the initramfs: %w", err)
	}
	socket := filepath.Join(tmp, "virtiofs")
	share, err := startShare(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer share.stop()
	log := filepath.Join(tmp, "console")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", g.machine(initrd, socket, log)...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if err != nil {
		err = fmt.Errorf("qemu: %w: %s", err, stderr.Bytes())
	}
	console, readErr := os.ReadFile(log)
	return console, errors.Join(err, readErr)
}

// machine returns QEMU's arguments. /dev/kvm is not used: where it is nested it
// may be slower than none, and a matrix should be the same everywhere.
func (g guest) machine(initrd, socket, console string) []string {
	const memory = "1024M"
	return []string{
		// One CPU. Of several in threads of their own, one may run into a breakpoint that another has
		// put there and taken back while it patched the kernel's code (text_poke), which tracepoints,
		// netfilter and tc do whenever a program is attached: the kernel does not know the breakpoint
		// any more and panics, "Oops: int3". Several in one thread take turns, and tests take longer.
		"-accel", "tcg", "-cpu", "max", "-machine", "q35,memory-backend=mem", "-smp", "1", "-m", memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:" + console, "-serial", "stdio",
		// virtiofs works on memory that both processes have
		"-object", "memory-backend-memfd,id=mem,share=on,size=" + memory,
		"-chardev", "socket,id=host,path=" + socket, "-device", "vhost-user-fs-pci,chardev=host,tag=host",
		"-kernel", filepath.Join(g.kernel, "vmlinux"), "-initrd", initrd,
		"-append", fmt.Sprintf("console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable tsc_early_khz=%d no_timer_check cryptomgr.notests", hostTSC()),
	}
}

// writeInitrd writes what the guest has before it has a root.
func (g guest) writeInitrd(file string, c command) error {
	release, err := os.ReadFile(filepath.Join(g.kernel, "release"))
	if err != nil {
		return err
	}
	a := archive{files: map[string]string{"init": g.init}}
	guestConfig := struct {
		Args, Env            []string
		Dir, ModuleTree      string
		BootModules, Modules []string
		Epoch                int64
	}{
		Args: c.args, Env: c.env, Dir: c.dir, Epoch: time.Now().Unix(),
		ModuleTree: filepath.Join(g.kernel, "root/lib/modules", strings.TrimSpace(string(release))),
	}
	for list, to := range map[string]*[]string{"boot": &guestConfig.BootModules, "lab": &guestConfig.Modules} {
		names, err := os.ReadFile(filepath.Join(g.kernel, "ko", list))
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(string(names)) {
			*to = append(*to, "/"+name)
			a.files[name] = filepath.Join(g.kernel, "ko", name)
		}
	}
	if a.config, err = json.Marshal(guestConfig); err != nil {
		return err
	}
	return a.write(file)
}

// share is a running virtiofsd that shows / to a guest.
type share struct{ cmd *exec.Cmd }

func startShare(ctx context.Context, socket string) (share, error) {
	// Debian 12 has it with QEMU, in C; later ones alone, in Rust. Both know these options.
	program := "/usr/lib/qemu/virtiofsd"
	if _, err := os.Stat(program); err != nil {
		program = "/usr/libexec/virtiofsd"
	}
	s := share{exec.CommandContext(ctx, program, "--socket-path="+socket, "-o", "source=/", "-o", "sandbox=chroot", "-o", "cache=always")}
	if err := s.cmd.Start(); err != nil {
		return s, fmt.Errorf("share the root: %w", err)
	}
	late := time.After(5 * time.Second)
	for again := time.Tick(10 * time.Millisecond); ; {
		if _, err := os.Stat(socket); err == nil {
			return s, nil
		}
		select {
		case <-again:
		case <-late:
			s.stop()
			return s, errors.New("share the root: virtiofsd makes no socket")
		}
	}
}

func (s share) stop() {
	_ = s.cmd.Process.Kill() // it ends by itself with the guest
	_ = s.cmd.Wait()
}

// lastWords returns the line of a kernel's log that tells why it ended.
func lastWords(console []byte) string {
	lines := strings.Split(strings.TrimSpace(string(console)), "\n")
	for _, line := range lines {
		if strings.Contains(line, "Oops") || strings.Contains(line, "BUG:") || strings.Contains(line, "Kernel panic") {
			return line
		}
	}
	return lines[len(lines)-1]
}
