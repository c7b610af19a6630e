package nftrace

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/dnspath/dnspath/internal/kernel"
)

// MaxNamespaces bounds the namespaces in which packets are traced: each takes
// two sockets and a goroutine.
const MaxNamespaces = 512

// Stats count what a Tracer did.
type Stats struct {
	Steps       uint64 // kept, of DNS packets
	Overflows   uint64 // times that messages were lost since they were not read soon enough
	Undecodable uint64 // messages that Decode refused
	Unlisted    uint64 // rules whose text was not asked for in time: too many
	Namespaces  int    // in which packets are traced
}

// Tracer traces DNS packets through the rules of nftables. Its methods may be
// called from any goroutine.
type Tracer struct {
	ports          []uint16
	name           string // of our tables
	nft            string // path of nft; empty if there is none
	logsEverywhere bool

	questions, urgent chan question
	answered          chan struct{} // closed when the lister has ended

	syncing    sync.Mutex // guards what follows; taken before mu
	namespaces map[uint32]*namespace
	closed     bool

	mu       sync.Mutex // guards what follows, and namespace.rules
	store    store
	stats    Stats
	unlisted map[*rule]bool // whose texts wait to be asked for
}

// maxQuestions bounds the rules whose texts wait to be asked for.
const maxQuestions = 1024

// New returns a Tracer for DNS on the given ports; nil is 53. It traces nothing until it is
// told by Sync where. The caller closes it.
func New(ports []uint16) (*Tracer, error) {
	name, err := tableName(os.Getpid())
	if err != nil {
		return nil, err
	}
	if ports == nil {
		ports = []uint16{53}
	}
	t := &Tracer{
		ports: ports, name: name, logsEverywhere: logsEverywhere(),
		questions: make(chan question, maxQuestions), urgent: make(chan question, maxQuestions), answered: make(chan struct{}),
		namespaces: map[uint32]*namespace{}, unlisted: map[*rule]bool{},
	}
	t.nft, _ = exec.LookPath("nft") // without it rules have a handle and a comment, and no text
	go t.list()
	return t, nil
}

// Sync traces in every given namespace, and no longer in others: a socket keeps
// its namespace alive, so a pod that went away must be let go. Namespaces that
// can't be traced in are skipped; their errors are joined.
func (t *Tracer) Sync(live []kernel.Namespace) error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if t.closed {
		return kernel.ErrClosed
	}
	var errs []error
	for inode, n := range t.namespaces {
		if !n.ended() && slices.ContainsFunc(live, func(l kernel.Namespace) bool { return l.Inode == inode }) {
			continue
		}
		if err := n.close(); err != nil {
			errs = append(errs, fmt.Errorf("rules of %s: %w", n.path, err))
		}
		delete(t.namespaces, inode)
	}
	skipped := 0
	for _, l := range live {
		if t.namespaces[l.Inode] != nil {
			continue
		}
		if len(t.namespaces) >= MaxNamespaces {
			skipped++
			continue
		}
		n, err := t.open(l)
		if err != nil {
			errs = append(errs, fmt.Errorf("rules of %s: %w", l.Path, err))
			continue
		}
		t.namespaces[l.Inode] = n
	}
	if skipped > 0 {
		errs = append(errs, fmt.Errorf("rules of %d more namespaces: at most %d are traced", skipped, MaxNamespaces))
	}
	t.count(func(s *Stats) { s.Namespaces = len(t.namespaces) })
	return errors.Join(errs...)
}

func (n *namespace) ended() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// Steps returns what rules did with packets of any of some keys, of those steps
// that are still kept, in the order of each packet.
func (t *Tracer) Steps(keys []Key) []Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.store.find(keys)
}

// Stats returns what was counted so far.
func (t *Tracer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// drainWithin bounds Drain. A chain takes nft some 5 ms, or 100 where a node is very
// slow; a packet may have come by a dozen in each of several namespaces.
const drainWithin = 10 * time.Second

// Drain waits until the steps of all packets that have passed are kept, and the
// texts of their rules known, as far as they can be. Texts that are still to be
// asked for when its time is up are counted.
func (t *Tracer) Drain() {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if t.closed {
		return
	}
	timeout := time.After(drainWithin)
	for _, n := range t.namespaces {
		n.catchUp(timeout)
	}
	told := make(chan struct{})
	select {
	case t.questions <- question{told: told}:
	case <-timeout:
		t.giveUp()
		return
	}
	select {
	case <-told:
	case <-timeout:
		t.giveUp()
	}
}

// Close deletes all tables, and frees everything. It may be called twice.
func (t *Tracer) Close() error {
	t.syncing.Lock()
	defer t.syncing.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var errs []error
	for _, n := range t.namespaces {
		errs = append(errs, n.close())
	}
	clear(t.namespaces)
	close(t.questions) // the readers, who ask, have ended
	<-t.answered
	return errors.Join(errs...)
}

func (t *Tracer) count(change func(*Stats)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(&t.stats)
}

func (t *Tracer) keep(k *kept) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.store.add(k)
	t.stats.Steps++
}
