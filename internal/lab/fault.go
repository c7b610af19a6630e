package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// Fault is a failure of DNS that a lab makes for real. Each finding has one: the
// tests assert that it is named, "dnslab demo ID" shows it, and the
// documentation quotes that.
type Fault struct {
	ID    string // of the finding that must be named, alone
	Title string // what is wrong, in a sentence
	Lab   Config
	NoDNS bool // no DNS servers run but those that Break starts

	// Break makes the failure, before dnspath starts; With does so while it
	// watches. Either may be nil.
	Break, With func(context.Context, *Lab) error

	// Ask asks for this name in a way that fails. Nil is AskService.
	Ask func(ctx context.Context, l *Lab, name string) error

	// Mend does what the finding says, so that Ask works afterwards; nil if the
	// lab can't show that.
	Mend func(context.Context, *Lab) error

	// Watch are the namespaces that dnspath sees; nil: all of the lab.
	Watch []string

	// Answered says that Ask succeeds all the same.
	Answered bool

	// Cause is the finding of a lookup that this one led to, if that has another.
	Cause string

	// Finds are the findings that must be named, and May those that may be named
	// besides, of a case in which several things go wrong; nil: ID and Cause alone.
	Finds, May []string

	// WholeMachine says that it changes a limit which all namespaces share: it is
	// made where nobody else is, in the guests of scripts/vm.
	WholeMachine bool

	// Needs is the least that must be seen for the finding to be named.
	Needs Sight
}

// Sight is what the kernel lets dnspath see.
type Sight int

// The sights, each with all that come before it.
const (
	SightTracepoints Sight = iota // --passive
	SightHooks                    // netfilter's hooks, by links or functions
	SightFunctions                // function probes
)

// Faults returns all faults, in the order of the catalogue of findings. One
// finding may have several, with variants of its name after a slash:
// "policy-drop/nftables".
func Faults() []Fault {
	return slices.Concat(
		serviceFaults,
		natFaults,
		conntrackFaults,
		policyFaults,
		nodelocalFaults,
		programFaults(),
		routingFaults(),
		sizeFaults(),
		checksumFaults,
		badChecksumFaults,
		gsoFaults,
		queueFaults(),
		serverFaults(),
		historyFaults,
	)
}

// Wanted returns the findings that must be named.
func (f *Fault) Wanted() []string {
	if f.Finds != nil {
		return f.Finds
	}
	want := []string{f.Finding()}
	if f.Cause != "" {
		want = append(want, f.Cause)
	}
	return want
}

// Finding is the ID of the finding, without the variant.
func (f *Fault) Finding() string {
	id, _, _ := strings.Cut(f.ID, "/")
	return id
}

// NeedsGuest reports whether a kernel that lacks function probes, IPVS and most
// tunnels can't make or see the fault, or must not.
func (f *Fault) NeedsGuest() bool {
	return f.WholeMachine || f.Needs == SightFunctions || f.Lab.Service == ServiceIPVS || !slices.Contains([]Overlay{"", OverlayVXLAN}, f.Lab.Overlay)
}

// Raise makes the lab of a fault, with DNS servers, and breaks it. The caller
// closes the lab.
func (f *Fault) Raise(ctx context.Context) (l *Lab, err error) {
	if f.WholeMachine && os.Getenv(guestEnv) == "" {
		return nil, notSupported("a limit of the lab's own", "a machine without other users: scripts/vm")
	}
	if l, err = New(ctx, f.Lab); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
			l = nil
		}
	}()
	for _, ns := range []*NS{l.DNSA, l.DNSB} {
		if f.NoDNS {
			break
		}
		if _, err := StartDNS(ns, DNSOptions{}); err != nil {
			return l, err
		}
	}
	if f.Break != nil {
		if err := f.Break(ctx, l); err != nil {
			return l, fmt.Errorf("break %s: %w", f.ID, err)
		}
	}
	return l, nil
}

// Watched returns flags that have dnspath see the fault's namespaces alone: what
// else there is, is no node's.
func (f *Fault) Watched(l *Lab) (flags []string) {
	for _, ns := range l.Namespaces() {
		if f.Watch == nil || slices.Contains(f.Watch, ns.Name) {
			flags = append(flags, "--netns", ns.Name)
		}
	}
	return flags
}

// ToolTimeout is after how long the tool is to take a fault's lookup for lost: just
// before its client does, which is after half a second.
func ToolTimeout() time.Duration { return Patience(400 * time.Millisecond) }

// Fails asks in the way that fails, and returns an error if it does not.
func (f *Fault) Fails(ctx context.Context, l *Lab, name string) error {
	switch err := f.ask(ctx, l, name); {
	case f.Answered:
		return err
	case err == nil:
		return errors.New("the lookup was answered")
	}
	return nil
}

// Works asks in the same way, and returns an error if that fails. It tries again: a
// bridge takes up to a second to see that a port is up.
func (f *Fault) Works(ctx context.Context, l *Lab, name string) (err error) {
	const tries = 3
	for range tries {
		if err = f.ask(ctx, l, name); err == nil {
			break
		}
	}
	return err
}

func (f *Fault) ask(ctx context.Context, l *Lab, name string) error {
	if f.Ask == nil {
		return AskService(ctx, l, name)
	}
	return f.Ask(ctx, l, name)
}

// AskService has the client ask the service for a name once, over UDP.
func AskService(ctx context.Context, l *Lab, name string) error {
	return AskServer(ctx, l.Client, Service(), name)
}

// AskServiceTCP is AskService over TCP.
func AskServiceTCP(ctx context.Context, l *Lab, name string) error {
	return askOnce(ctx, l.Client, LookupOptions{Server: Service(), Name: name, TCP: true})
}

// AskServer asks a server once, over UDP. The error is of the client: a timeout
// is os.ErrDeadlineExceeded.
func AskServer(ctx context.Context, ns *NS, server netip.AddrPort, name string) error {
	return askOnce(ctx, ns, LookupOptions{Server: server, Name: name})
}

func askOnce(ctx context.Context, ns *NS, opts LookupOptions) error {
	opts.Timeout = Patience(500 * time.Millisecond)
	res, err := ns.Lookup(ctx, opts)
	if err == nil && res.Rcode != 0 {
		return fmt.Errorf("answered with rcode %d", res.Rcode)
	}
	return err
}
