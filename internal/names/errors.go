package names

import "errors"

// Sentinels. Every error that this package returns for one of these reasons
// matches it with errors.Is. A refusal by the kernel (not root, or hidepid)
// matches fs.ErrPermission instead.
var (
	// ErrNotFound: no live network namespace answers to the selector.
	ErrNotFound = errors.New("no such network namespace")

	// ErrAmbiguous: the selector fits more than one network namespace. The
	// error's text names the candidates.
	ErrAmbiguous = errors.New("more than one network namespace fits")

	// ErrNotNetNS: the file exists but is no network namespace.
	ErrNotNetNS = errors.New("not a network namespace")

	// ErrNoProcess: no process has this PID in the PID namespace that
	// Options.Proc shows, or it has exited.
	ErrNoProcess = errors.New("no such process")
)

// selectorError is a failed Find: a text that says what to do, and the cause
// for errors.Is.
type selectorError struct {
	text  string
	cause error
}

func (e *selectorError) Error() string { return e.text }
func (e *selectorError) Unwrap() error { return e.cause }
