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

// checkEvery is how often it is asked whether the rules changed, which makes
// handles mean other rules if a table was made anew.
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
	caughtUp chan struct{}
	done     chan struct{} // closed when the reader has ended
}

// generation is what is known of the rules as they are now.
type generation struct {
	id      uint32
	checked uint64 // ns, when the id was asked for
	chains  map[chainKey]*chain
}

type chainKey struct {
	family      uint8
	table, name string
}

// chain is one of a generation.
type chain struct {
	Chain
	rules map[uint64]*ruleText // that packets matched; guarded by Tracer.mu
}

// open adds the table to a namespace and starts to read.
func (t *Tracer) open(n kernel.Namespace) (*namespace, error) {
	ns := &namespace{tracer: t, inode: n.Inode, path: n.Path, caughtUp: make(chan struct{}, 1), done: make(chan struct{})}
	ns.assembler = assembler{chainOf: ns.base, under: map[uint32]evaluation{}}
	ns.chains = map[chainKey]*chain{}
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
	n.tracer.keep(&kept{step: step, rule: n.rule(msg)})
}

// check forgets the chains if the rules have changed.
func (n *namespace) check(now uint64) {
	if now-n.checked < checkEvery {
		return
	}
	n.checked = now
	if id := n.generationID(); id != n.id {
		n.id, n.chains = id, map[chainKey]*chain{}
	}
}

// rule returns where the text of a message's rule will be, and sees to it that
// it is asked for; nil of a policy.
func (n *namespace) rule(m *Message) *ruleText {
	if m.Handle == 0 {
		return nil
	}
	c := n.chain(m.Family, m.Table, m.Chain)
	n.tracer.mu.Lock()
	rule, ok := c.rules[m.Handle]
	if !ok {
		rule = &ruleText{}
		c.rules[m.Handle] = rule
	}
	n.tracer.mu.Unlock()
	if !ok {
		n.tracer.ask(question{namespace: n, generation: n.id, key: chainKey{m.Family, m.Table, m.Chain}, chain: c})
	}
	return rule
}

func (n *namespace) base(family uint8, table, name string) Chain {
	return n.chain(family, table, name).Chain
}

// maxChains bounds the chains that are known of a namespace.
const maxChains = 4096

// chain returns what is known of a chain, and asks the kernel if that is nothing.
func (n *namespace) chain(family uint8, table, name string) *chain {
	key := chainKey{family, table, name}
	if c, ok := n.chains[key]; ok {
		return c
	}
	if len(n.chains) >= maxChains {
		clear(n.chains)
	}
	c := &chain{Chain: n.askChain(key), rules: map[uint64]*ruleText{}}
	n.chains[key] = c
	return c
}

func (n *namespace) askChain(key chainKey) Chain {
	answers, err := n.execute(unix.NFT_MSG_GETCHAIN, key, unix.NFTA_CHAIN_TABLE, unix.NFTA_CHAIN_NAME, 0)
	if err != nil || len(answers) != 1 {
		return Chain{Name: key.name} // it has gone
	}
	return decodeChain(answers[0].Data)
}

// facts returns what the kernel tells of a chain's rules by handle.
func (n *namespace) facts(key chainKey) map[uint64]ruleFacts {
	answers, err := n.execute(unix.NFT_MSG_GETRULE, key, unix.NFTA_RULE_TABLE, unix.NFTA_RULE_CHAIN, netlink.Dump)
	if err != nil {
		return nil
	}
	facts := map[uint64]ruleFacts{}
	for _, m := range answers {
		handle, f := decodeRule(m.Data)
		facts[handle] = f
	}
	return facts
}

// execute asks the kernel about a chain.
func (n *namespace) execute(kind uint16, key chainKey, tableAttr, chainAttr uint16, flags netlink.HeaderFlags) ([]netlink.Message, error) {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: tableAttr, Data: []byte(key.table + "\x00")},
		{Type: chainAttr, Data: []byte(key.name + "\x00")},
	})
	if err != nil {
		return nil, err
	}
	m := request(kind, key.family, attrs)
	m.Header.Flags |= flags
	n.asking.Lock()
	defer n.asking.Unlock()
	return n.table.sock.Execute(m)
}

// generationID returns the number of the rules as they are now; 0 if the kernel
// does not tell. Each change of any rule gives another.
func (n *namespace) generationID() uint32 {
	n.asking.Lock()
	answers, err := n.table.sock.Execute(request(unix.NFT_MSG_GETGEN, unix.NFPROTO_UNSPEC, nil))
	n.asking.Unlock()
	if err != nil || len(answers) != 1 || len(answers[0].Data) < nfgenmsgLen {
		return 0
	}
	ad, err := netlink.NewAttributeDecoder(answers[0].Data[nfgenmsgLen:])
	if err != nil {
		return 0
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_GEN_ID {
			return ad.Uint32()
		}
	}
	return 0
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
