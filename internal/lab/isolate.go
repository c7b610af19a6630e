package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// parentEnv carries the process id of the outer process. A grandchild that
	// inherits it has another parent, so it isolates itself anew.
	parentEnv = "DNSPATH_LAB_PARENT"

	runDir   = "/run"
	netnsDir = "/run/netns"
	// sealFile exists in the private /run alone.
	sealFile = "/run/dnspath-lab"
)

// Isolate runs the given function in a mount namespace of its own and returns
// its exit status. It starts the current program a second time, with the same
// arguments, environment and standard streams; there, the same call of Isolate
// is reached again and calls run. So call it early, and do nothing before it
// that must not be done twice.
//
// In the inner process /run is an empty tmpfs with a netns folder, which no
// other process sees. The inner process gets SIGKILL when the outer one dies.
// The outer one passes SIGINT, SIGTERM and SIGQUIT on. An inner process killed
// by a signal gives 128 plus its number. It needs CAP_SYS_ADMIN.
func Isolate(run func() int) (status int, err error) {
	if os.Getenv(parentEnv) != strconv.Itoa(os.Getppid()) {
		return reexec()
	}
	if err := os.Unsetenv(parentEnv); err != nil {
		return 1, fmt.Errorf("clear %s: %w", parentEnv, err)
	}
	if err := privateRun(); err != nil {
		return 1, err
	}
	return run(), nil
}

// reexec starts the inner process and waits for it.
//
//nolint:forbidigo // to run this very process again is to use what it was started with
func reexec() (int, error) {
	// Pdeathsig fires when the thread that forked ends, not the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), parentEnv+"="+strconv.Itoa(os.Getpid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unix.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start isolated process (needs root): %w", err)
	}
	done := make(chan struct{})
	defer close(done)
	go forward(signals, cmd.Process, done)

	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("wait for isolated process: %w", err)
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// forward passes signals on to the process until done is closed.
func forward(signals <-chan os.Signal, to *os.Process, done <-chan struct{}) {
	for {
		select {
		case <-done:
			return
		case s := <-signals:
			if s != unix.SIGTERM && inForeground() {
				continue // the terminal gave it to the inner process too
			}
			// An error means that the process has ended: Wait tells.
			_ = to.Signal(s)
		}
	}
}

// inForeground says whether Ctrl-C on the terminal reaches this process group.
func inForeground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// privateRun hides /run behind a tmpfs, in this mount namespace alone.
func privateRun() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("dnspath-lab", runDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", runDir, err)
	}
	if err := os.Mkdir(netnsDir, 0o755); err != nil {
		return fmt.Errorf("make folder for namespaces: %w", err)
	}
	if err := os.WriteFile(sealFile, nil, 0o444); err != nil {
		return fmt.Errorf("mark private %s: %w", runDir, err)
	}
	return nil
}
