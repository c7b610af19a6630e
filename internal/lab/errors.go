package lab

import "errors"

// Errors that callers may test for with errors.Is.
var (
	// ErrNotIsolated is returned by New in a process that Isolate did not
	// start: a lab there would outlive it.
	ErrNotIsolated = errors.New("process has no mount namespace of its own")
	// ErrClosed is returned by the methods of an NS after its Close.
	ErrClosed = errors.New("network namespace is closed")
	// ErrNoBridgeNF is returned by New when bridge netfilter is wanted and the
	// kernel has no br_netfilter.
	ErrNoBridgeNF = errors.New("kernel has no br_netfilter (CONFIG_BRIDGE_NETFILTER)")
)
