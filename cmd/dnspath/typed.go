package main

import (
	"bufio"
	"errors"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often it is asked whether dnspath is in the foreground again:
// shells do not tell.
const lookAgain = time.Second

// hears reports whether what is typed is for dnspath: stdin is a terminal whose
// foreground it is in, and stdout is no pipe to a program that wants it (dnspath | less).
func hears(e *env) bool {
	in, ok := e.stdin.(*os.File)
	if !ok || !inForeground(in) {
		return false
	}
	out, ok := e.stdout.(*os.File)
	if !ok {
		return false
	}
	info, err := out.Stat()
	return err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0
}

// inForeground reports whether a file is a terminal, and its keys are for us.
func inForeground(f *os.File) bool {
	group, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// obey does what is typed, a word a line, until there is no more. The terminal
// stays as it is: it keeps its echo, and empty lines part what is shown.
func obey(in *os.File, words map[string]func()) {
	signal.Ignore(unix.SIGTTIN) // in the background, reading fails (EIO) instead of stopping us
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadString('\n')
		if do := words[strings.TrimSpace(line)]; do != nil {
			do()
		}
		switch {
		case err == nil:
		case errors.Is(err, unix.EIO) && elsewhere(in):
			time.Sleep(lookAgain)
		default:
			return
		}
	}
}

// elsewhere reports whether a terminal is there, and another job has it.
func elsewhere(f *os.File) bool {
	_, err := unix.IoctlGetInt(int(f.Fd()), unix.TIOCGPGRP)
	return err == nil && !inForeground(f)
}
