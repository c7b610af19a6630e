package kernel

import (
	"errors"
	"fmt"
)

// ErrNotSupported is wrapped by every error that says that this kernel lacks a
// feature. errors.As to *FeatureError gives its name and what it needs.
var ErrNotSupported = errors.New("not supported by this kernel")

// ErrPermission is wrapped by every error that says that this process may not
// do what is needed. The text names the missing capability.
var ErrPermission = errors.New("permission denied")

// ErrClosed is returned by the methods of a closed Session.
var ErrClosed = errors.New("session is closed")

// FeatureError says which feature a kernel lacks, and what would have it.
type FeatureError struct {
	Feature string // such as "BTF"
	Needs   string // such as "CONFIG_DEBUG_INFO_BTF=y"
	Cause   error  // what the kernel answered; may be nil
}

// Error names the feature, its need and the cause in one line.
func (e *FeatureError) Error() string {
	s := fmt.Sprintf("%s is %v: needs %s", e.Feature, ErrNotSupported, e.Needs)
	if e.Cause != nil {
		s += fmt.Sprintf(" (%v)", e.Cause)
	}
	return s
}

// Is reports that every FeatureError is an ErrNotSupported.
func (e *FeatureError) Is(target error) bool { return target == ErrNotSupported }

// Unwrap returns the cause.
func (e *FeatureError) Unwrap() error { return e.Cause }
