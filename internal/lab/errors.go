package lab

import (
	"errors"
	"fmt"
)

// Errors that callers may test for with errors.Is.
var (
	// ErrNotIsolated is returned by New in a process that Isolate did not
	// start: a lab there would outlive it.
	ErrNotIsolated = errors.New("process has no mount namespace of its own")
	// ErrClosed is returned by the methods of an NS after its Close.
	ErrClosed = errors.New("network namespace is closed")
	// ErrNotSupported is returned by New when the kernel lacks a part of the lab
	// that was asked for; the message names it. It is the one reason for which a
	// test that needs a lab may be skipped.
	ErrNotSupported = errors.New("not supported by this kernel")
)

// notSupported says what the kernel lacks, and which option of its build has it.
func notSupported(what, option string) error {
	return fmt.Errorf("%w: %s (%s)", ErrNotSupported, what, option)
}
