package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a terminal: what is written to keyboard is typed at screen.
func openTerminal(t *testing.T) (keyboard, screen *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /dev/ptmx: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keyboard.Close() })
	if err := unix.IoctlSetPointerInt(int(keyboard.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetUint32(int(keyboard.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	return keyboard, screen
}

func TestTyped(t *testing.T) {
	keyboard, screen := openTerminal(t)
	var did []string
	note := func(word string) func() { return func() { did = append(did, word) } }
	const endOfFile = "\x04" // Ctrl-D
	if _, err := keyboard.WriteString("\ns\nsq\n s \nwhat?\nq\n" + endOfFile); err != nil {
		t.Fatal(err)
	}
	obey(screen, map[string]func(){"s": note("s"), "q": note("q")})
	if got := fmt.Sprint(did); got != "[s s q]" {
		t.Errorf("did %s, want [s s q]", got)
	}
}

// TestNotHeard holds that nothing is read from what is no terminal of ours.
func TestNotHeard(t *testing.T) {
	_, screen := openTerminal(t) // not the controlling one
	pipe, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	for _, in := range []*os.File{screen, pipe} {
		if hears(&env{stdin: in, stdout: os.Stdout}) {
			t.Errorf("%s is heard", in.Name())
		}
	}
}
