package nftrace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tablePrefix begins the names of our tables; the process that made one follows,
// as its id and start time.
const tablePrefix = "dnspath-trace-"

// tableOwner is NFT_TABLE_F_OWNER, since 5.12 (6001a930ce03).
const tableOwner = 2

// protocols are the IPPROTO_* whose packets are traced.
var protocols = []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP}

// Where the trace bit is set: where packets come into a namespace, and where
// they are sent, before all other rules. The bit goes with the packet until it
// leaves the namespace.
var tracedHooks = []struct {
	name string
	hook *nftables.ChainHook
}{
	{"prerouting", nftables.ChainHookPrerouting},
	{"output", nftables.ChainHookOutput},
}

// table is ours in one namespace, and the socket that owns it.
type table struct {
	conn     *nftables.Conn
	sock     *netlink.Conn // that of conn
	name     string
	families []nftables.TableFamily
}

// addTable adds our table to the current namespace. The caller deletes it.
func addTable(name string, ports []uint16) (*table, error) {
	t := &table{name: name}
	var err error
	// The library does not set flags of tables, so we use its socket beside it.
	t.conn, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(s *netlink.Conn) error {
		t.sock = s
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := t.deleteStale(); err != nil {
		return nil, errors.Join(err, t.conn.CloseLasting())
	}
	var first error
	for _, flags := range []uint32{tableOwner, 0} {
		for _, families := range [][]nftables.TableFamily{
			{nftables.TableFamilyINet},
			{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6}, // a kernel without NF_TABLES_INET
		} {
			err := t.add(families, flags, ports)
			if err == nil {
				return t, nil
			}
			if first == nil {
				first = err
			}
		}
	}
	return nil, errors.Join(first, t.conn.CloseLasting())
}

// add adds the table to all families, or to none.
func (t *table) add(families []nftables.TableFamily, flags uint32, ports []uint16) error {
	for _, family := range families {
		if err := t.create(family, flags); err != nil {
			return errors.Join(fmt.Errorf("add table: %w", err), t.remove())
		}
		t.families = append(t.families, family)
		t.fill(family, ports)
		if err := t.conn.Flush(); err != nil {
			return errors.Join(fmt.Errorf("add chains: %w", err), t.remove())
		}
	}
	return nil
}

// create makes the table alone.
func (t *table) create(family nftables.TableFamily, flags uint32) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: binary.BigEndian.AppendUint32(nil, flags)},
	})
	if err != nil {
		return err
	}
	batch := func(kind netlink.HeaderType) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: kind, Flags: netlink.Request},
			Data:   []byte{0, 0, 0, unix.NFNL_SUBSYS_NFTABLES},
		}
	}
	create := request(unix.NFT_MSG_NEWTABLE, uint8(family), attrs)
	create.Header.Flags |= netlink.Acknowledge | netlink.Create | netlink.Excl
	if _, err := t.sock.SendMessages([]netlink.Message{
		batch(unix.NFNL_MSG_BATCH_BEGIN), create, batch(unix.NFNL_MSG_BATCH_END),
	}); err != nil {
		return err
	}
	_, err = t.sock.Receive()
	return err
}

// fill queues the chains and rules of the table.
func (t *table) fill(family nftables.TableFamily, ports []uint16) {
	own := &nftables.Table{Name: t.name, Family: family}
	for _, h := range tracedHooks {
		chain := t.conn.AddChain(&nftables.Chain{
			Name: h.name, Table: own, Type: nftables.ChainTypeFilter, Hooknum: h.hook, Priority: nftables.ChainPriorityFirst,
		})
		for _, protocol := range protocols {
			for _, port := range ports {
				for _, offset := range []uint32{0, 2} { // of the source and the destination port
					t.conn.AddRule(&nftables.Rule{Table: own, Chain: chain, Exprs: traceRule(protocol, port, offset)})
				}
			}
		}
	}
}

// traceRule is "meta l4proto PROTOCOL th sport|dport PORT meta nftrace set 1".
func traceRule(protocol byte, port uint16, offset uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.Immediate{Register: 1, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: 1},
	}
}

// remove deletes the table, if it is there.
func (t *table) remove() error {
	for _, family := range t.families {
		t.conn.DelTable(&nftables.Table{Name: t.name, Family: family})
	}
	t.families = nil
	if err := t.conn.Flush(); err != nil {
		return fmt.Errorf("delete table: %w", err)
	}
	return nil
}

// close deletes the table and closes its socket.
func (t *table) close() error { return errors.Join(t.remove(), t.conn.CloseLasting()) }

// deleteStale deletes tables of ours whose process has gone, which happens where
// the kernel knows no owners.
func (t *table) deleteStale() error {
	tables, err := t.conn.ListTables()
	if err != nil {
		return fmt.Errorf("list tables: %w", err)
	}
	for _, old := range tables {
		if !isOurs(old.Name) || isAlive(old.Name) {
			continue
		}
		t.conn.DelTable(old)
		if err := t.conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) { // somebody else was faster
			return fmt.Errorf("delete table %s, left behind: %w", old.Name, err)
		}
	}
	return nil
}

// isOurs reports whether a table is one of a dnspath, this or another.
func isOurs(table string) bool { return strings.HasPrefix(table, tablePrefix) }

// tableName is the name for the tables of a process.
func tableName(pid int) (string, error) {
	start, err := startTime(pid)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%d-%s", tablePrefix, pid, start), nil
}

// isAlive reports whether the process that made a table runs.
func isAlive(table string) bool {
	pid, _, _ := strings.Cut(strings.TrimPrefix(table, tablePrefix), "-")
	id, err := strconv.Atoi(pid)
	if err != nil {
		return true // no name of ours
	}
	name, err := tableName(id)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false
	}
	return err != nil || name == table
}

// startTime returns when a process was started, in clock ticks since the boot:
// with the id it is a process for good.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("ask when process %d was started: %w", pid, err)
	}
	// The name, second, may hold anything; the start time is the 22nd, proc(5).
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("ask when process %d was started: %d fields", pid, len(fields))
	}
	return fields[19], nil
}

// request makes a message of nftables.
func request(kind uint16, family uint8, attrs []byte) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: netlink.Request},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attrs...),
	}
}
