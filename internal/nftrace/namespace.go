package nftrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
)

// receiveBuffer holds trace messages that were not read yet, bytes: some ten
// thousand of them.
const receiveBuffer = 8 << 20

// messageSize is more than the largest trace message: names of at most 256 bytes,
// headers of 40.
const messageSize = 8192

// checkEvery is how often it is asked whether the rules changed: a table made anew
// has the same names, and handles that mean other rules.
const checkEvery = uint64(10 * time.Millisecond)

// namespace is one in which packets are traced.
type namespace struct {
	tracer *Tracer
	inode  uint32
	path   string
	table  *table
	group  *netlink.Conn // in NFNLGRP_NFTRACE

	asking sync.Mutex // held for a whole question and answer on table.sock

	// What follows is the reader's.
	assembler assembler
	generation
	rules    map[ruleKey]*rule // that packets matched; guarded by Tracer.mu
	caughtUp chan struct{}
	done     chan struct{} // closed when the reader has ended
}

// generation is what is known of the rules as they are now. Each change of any of
// them makes another.
type generation struct {
	id      uint32
	checked uint64 // ns, when the id was asked for
	chains  map[chainKey]chain
}

type chainKey struct {
	family      uint8
	table, name string
}

// chain is one of a generation.
type chain struct {
	Chain
	table uint64 // handle of its table
}

// ruleKey names a rule for as long as a namespace lives: the kernel gives no
// handle of a table twice, and in a table none of a rule.
type ruleKey struct{ table, rule uint64 }

// open adds the table to a namespace and starts to read.
func (t *Tracer) open(n kernel.Namespace) (*namespace, error) {
	ns := &namespace{tracer: t, inode: n.Inode, path: n.Path, caughtUp: make(chan struct{}, 1), done: make(chan struct{})}
	ns.assembler = assembler{chainOf: ns.base, under: map[uint32]evaluation{}}
	ns.chains, ns.rules = map[chainKey]chain{}, map[ruleKey]*rule{}
	err := kernel.Inside(n.Path, func() (err error) {
		if wouldLog(t.logsEverywhere) {
			return ErrLegacy
		}
		// First the ears, then what makes the noise.
		if ns.group, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{MessageBufferSize: messageSize}); err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		if err = ns.listen(); err == nil {
			ns.table, err = addTable(t.name, t.ports)
		}
		if err != nil {
			return errors.Join(err, ns.group.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	go ns.read()
	return ns, nil
}

func (n *namespace) listen() error {
	if err := n.group.SetReadBuffer(receiveBuffer); err != nil {
		return fmt.Errorf("enlarge netlink buffer: %w", err)
	}
	if err := n.group.JoinGroup(unix.NFNLGRP_NFTRACE); err != nil {
		return fmt.Errorf("join trace group: %w", err)
	}
	return nil
}

// close removes the table, and ends the reader.
func (n *namespace) close() error {
	n.asking.Lock()
	err := n.table.close()
	n.asking.Unlock()
	err = errors.Join(err, n.group.Close())
	<-n.done
	return err
}

// read takes messages until the socket is closed, or fails.
func (n *namespace) read() {
	defer close(n.done)
	for {
		messages, err := n.group.Receive()
		now := monotonic()
		if errors.Is(err, unix.ENOBUFS) {
			n.assembler.forget()
			n.tracer.count(func(s *Stats) { s.Overflows++ })
			continue
		}
		if err != nil {
			return
		}
		for _, m := range messages {
			n.take(m, now)
		}
	}
}

// Types of messages, as they are in netlink's header.
const (
	traceType = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_TRACE)
	genType   = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN)
)

func (n *namespace) take(m netlink.Message, now uint64) {
	if m.Header.Type == genType { // the answer to catchUp
		select {
		case n.caughtUp <- struct{}{}:
		default:
		}
		return
	}
	if m.Header.Type != traceType {
		return
	}
	msg, err := Decode(m.Data)
	if err != nil {
		n.tracer.count(func(s *Stats) { s.Undecodable++ })
		return
	}
	if isOurs(msg.Table) {
		return
	}
	n.check(now)
	step, ok := n.assembler.add(msg)
	if !ok {
		return
	}
	step.Time, step.NetNS = now, n.inode
	n.tracer.keep(&kept{step: step, rule: n.rule(msg, step.Base)})
}

// check forgets the chains if the rules have changed.
func (n *namespace) check(now uint64) {
	if now-n.checked < checkEvery {
		return
	}
	n.checked = now
	if id := n.generationID(); id != n.id {
		n.id, n.chains = id, map[chainKey]chain{}
	}
}

// maxRules bounds the rules that are known of a namespace.
const maxRules = 1 << 14

// rule returns what is known of a message's rule, and sees to it that its text is
// asked for; nil of a policy.
func (n *namespace) rule(m *Message, base Chain) *rule {
	if m.Handle == 0 {
		return nil
	}
	key := chainKey{m.Family, m.Table, m.Chain}
	table := n.chain(key).table
	n.tracer.mu.Lock()
	r, ok := n.rules[ruleKey{table, m.Handle}]
	n.tracer.mu.Unlock()
	if ok {
		return r
	}
	r = &rule{ruleFacts: n.askRule(key, m.Handle)}
	n.tracer.mu.Lock()
	if len(n.rules) >= maxRules {
		clear(n.rules)
	}
	n.rules[ruleKey{table, m.Handle}] = r
	n.tracer.mu.Unlock()
	n.tracer.ask(question{namespace: n, chain: key, table: table, rule: r}, m.Verdict == VerdictDrop || base.Type == "nat")
	return r
}

func (n *namespace) base(family uint8, table, name string) Chain {
	return n.chain(chainKey{family, table, name}).Chain
}

// maxChains bounds the chains that are known of a namespace.
const maxChains = 4096

// chain returns what is known of a chain, and asks the kernel if that is nothing.
func (n *namespace) chain(key chainKey) chain {
	c, ok := n.chains[key]
	if !ok {
		if len(n.chains) >= maxChains {
			clear(n.chains)
		}
		c = chain{Chain: n.askChain(key), table: n.askTable(key)}
		n.chains[key] = c
	}
	return c
}

// askChain asks for a chain; of one that has gone, the name is all.
func (n *namespace) askChain(key chainKey) Chain {
	data := n.execute(unix.NFT_MSG_GETCHAIN, key.family, []netlink.Attribute{
		{Type: unix.NFTA_CHAIN_TABLE, Data: cBytes(key.table)}, {Type: unix.NFTA_CHAIN_NAME, Data: cBytes(key.name)},
	})
	if data == nil {
		return Chain{Name: key.name}
	}
	return decodeChain(data)
}

// askTable asks for the handle of a chain's table; 0 if it has gone.
func (n *namespace) askTable(key chainKey) uint64 {
	return decodeTable(n.execute(unix.NFT_MSG_GETTABLE, key.family, []netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: cBytes(key.table)}}))
}

// askRule asks what a rule is; nothing is known of one that has gone.
func (n *namespace) askRule(key chainKey, handle uint64) ruleFacts {
	return decodeRule(n.execute(unix.NFT_MSG_GETRULE, key.family, []netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: cBytes(key.table)}, {Type: unix.NFTA_RULE_CHAIN, Data: cBytes(key.name)},
		{Type: unix.NFTA_RULE_HANDLE, Data: binary.BigEndian.AppendUint64(nil, handle)},
	}))
}

// generationID asks for the number of the rules as they are now; 0 if the kernel
// does not tell.
func (n *namespace) generationID() uint32 {
	return decodeGeneration(n.execute(unix.NFT_MSG_GETGEN, unix.NFPROTO_UNSPEC, nil))
}

// execute asks the kernel for one thing, and returns the payload of its answer;
// nil if that is an error.
func (n *namespace) execute(kind uint16, family uint8, attrs []netlink.Attribute) []byte {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return nil
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	answers, err := n.table.sock.Execute(request(kind, family, data))
	if err != nil || len(answers) != 1 {
		return nil
	}
	return answers[0].Data
}

// catchUp waits until all messages that were made before it have been read. What
// the kernel answers comes after them.
func (n *namespace) catchUp(timeout <-chan time.Time) {
	select {
	case <-n.caughtUp: // an answer that came too late
	default:
	}
	if _, err := n.group.Send(request(unix.NFT_MSG_GETGEN, unix.NFPROTO_UNSPEC, nil)); err != nil {
		return
	}
	select {
	case <-n.caughtUp:
	case <-n.done:
	case <-timeout:
	}
}

func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
