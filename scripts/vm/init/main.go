//go:build linux

// Init is process 1 of a guest that runs one command and ends. It is alone in
// the initramfs, with the kernel's modules and guest.json, which package main in
// scripts/vm/matrix writes.
//
// It loads the modules, lays a tmpfs over the host's root, which is shared by
// virtiofs and stays as it is, runs the command there with its output on the
// second serial port, and powers off. The line "GUEST-EXIT status" in the
// kernel's log tells the command's status; without that line the guest crashed.
package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// config is guest.json.
type config struct {
	Args        []string
	Env         []string // added to PATH and HOME
	Dir         string   // where the command runs
	BootModules []string // files in the initramfs, in order: what the shared root needs
	Modules     []string // those that the command needs
	ModuleTree  string   // folder on the host, for modules that the kernel asks for itself
	Epoch       int64    // the host's clock, in seconds
}

func main() {
	status, err := guest()
	if err != nil {
		logf("%v", err)
		status = 125
	}
	powerOff(status)
}

// guest returns the command's exit status.
func guest() (int, error) {
	if err := mountAll([]point{{"proc", "/proc", "proc"}, {"devtmpfs", "/dev", "devtmpfs"}}); err != nil {
		return 0, err
	}
	text, err := os.ReadFile("/guest.json")
	if err != nil {
		return 0, err
	}
	var c config
	if err := json.Unmarshal(text, &c); err != nil {
		return 0, fmt.Errorf("read guest.json: %w", err)
	}
	if err := unix.Settimeofday(&unix.Timeval{Sec: c.Epoch}); err != nil {
		return 0, fmt.Errorf("set the clock: %w", err)
	}
	if err := load(c.BootModules); err != nil {
		return 0, err
	}
	if err := mountRoot(); err != nil {
		return 0, err
	}
	// Before the change of root, for they lie in the initramfs.
	if err := load(c.Modules); err != nil {
		return 0, err
	}
	if err := enterRoot(c.ModuleTree); err != nil {
		return 0, err
	}
	return run(c)
}

// load loads modules; one that is there already is no error.
func load(files []string) error {
	for _, f := range files {
		module, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if err := unix.InitModule(unsigned(module), ""); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", filepath.Base(f), err)
		}
	}
	return nil
}

// unsigned cuts a module's signature off, since checking one takes 50 ms under
// emulation; a module without one only taints the kernel. It follows the
// module: signature, struct module_signature (12 bytes, of which the last four
// are the signature's length in network order), magic (include/linux/module_signature.h).
func unsigned(module []byte) []byte {
	const header = 12
	signed, ok := bytes.CutSuffix(module, []byte("~Module signature appended~\n"))
	if !ok || len(signed) < header {
		return module
	}
	length := int(binary.BigEndian.Uint32(signed[len(signed)-4:]))
	if length > len(signed)-header {
		return module
	}
	return signed[:len(signed)-header-length]
}

// point is something to mount.
type point struct{ source, target, kind string }

func mountAll(points []point) error {
	for _, p := range points {
		if err := os.MkdirAll(p.target, 0o755); err != nil {
			return err
		}
		// EBUSY: the kernel has mounted it.
		if err := unix.Mount(p.source, p.target, p.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s: %w", p.target, err)
		}
	}
	return nil
}

// mountRoot makes /root, the host's files under a layer that can be written.
func mountRoot() error {
	if err := mountAll([]point{{"host", "/host", "virtiofs"}, {"tmpfs", "/layer", "tmpfs"}}); err != nil {
		return err
	}
	for _, dir := range []string{"/layer/upper", "/layer/work", "/root"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/root", "overlay", 0, "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work"); err != nil {
		return fmt.Errorf("mount the root: %w", err)
	}
	return nil
}

// enterRoot changes into /root and mounts there what a machine has.
func enterRoot(moduleTree string) error {
	if err := unix.Chroot("/root"); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := mountAll([]point{
		{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"devtmpfs", "/dev", "devtmpfs"},
		{"devpts", "/dev/pts", "devpts"}, {"tmpfs", "/dev/shm", "tmpfs"}, {"tmpfs", "/run", "tmpfs"},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2"}, {"bpf", "/sys/fs/bpf", "bpf"}, {"tracefs", "/sys/kernel/tracing", "tracefs"},
	}); err != nil {
		return err
	}
	tree := "/lib/modules/" + filepath.Base(moduleTree)
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(moduleTree, tree, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", tree, err)
	}
	return loopbackUp()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// run runs the command and returns its status: 128 and the signal's number if
// one killed it, 127 if it could not be started.
func run(c config) (int, error) {
	out, err := rawTerminal("/dev/ttyS1")
	if err != nil {
		return 0, err
	}
	for key, value := range map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"} {
		if err := os.Setenv(key, value); err != nil {
			return 0, err
		}
	}
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append(os.Environ(), c.Env...), c.Dir, out, out
	// From here on a failure is the command's: the boot is not tried again.
	logf("GUEST-RUN %q", c.Args)
	status := 0
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		status = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			status = 128 + int(ws.Signal())
		}
	} else if err != nil {
		fmt.Fprintln(out, err)
		status = 127
	}
	// 1: wait until the port has sent everything (tcdrain).
	if err := unix.IoctlSetInt(int(out.Fd()), unix.TCSBRK, 1); err != nil {
		return 0, fmt.Errorf("drain the output: %w", err)
	}
	return status, nil
}

// rawTerminal opens a serial port that passes bytes on as they are.
func rawTerminal(path string) (*os.File, error) {
	port, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	raw := unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	if err := unix.IoctlSetTermios(int(port.Fd()), unix.TCSETS, &raw); err != nil {
		return nil, fmt.Errorf("set up %s: %w", path, err)
	}
	return port, nil
}

// logf writes a line to the kernel's log, as critical: "quiet" leaves that on
// the console.
func logf(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	// Without /dev/kmsg nothing can be told; the missing status tells that.
	_ = os.WriteFile("/dev/kmsg", []byte("<2>"+line+"\n"), 0)
}

// powerOff tells the status and ends the guest. The console writes it before
// WriteFile returns.
func powerOff(status int) {
	logf("GUEST-EXIT %d", status)
	unix.Sync()
	// If it fails, the kernel panics as this process ends, and the guest with it.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}
