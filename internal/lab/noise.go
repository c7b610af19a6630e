package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Loss says where a lab loses packets.
type Loss string

// The places of loss.
const (
	LossNone  Loss = "none"
	LossWire  Loss = "wire"  // between the nodes, where nobody can see it: Relay
	LossNetem Loss = "netem" // on both nodes, as they queue for the wire: sch_netem
)

// NoiseRun says how to make healthy lookups, with all that is nobody's fault, in a
// topology with dnspath watching.
type NoiseRun struct {
	Bin         string   // of dnspath
	Args        []string // more flags of dnspath
	ToolTimeout time.Duration
	Count       int // lookups
	Rate        int // lookups a second
	Seed        uint64
	Loss        Loss
	Part        float64   // of the packets between the nodes that are lost, 0 to 1
	OneNode     bool      // dnspath watches node-a and its pods alone
	Export      io.Writer // gets what dnspath exports, too; may be nil
}

// NoiseResult is what dnspath said of them.
type NoiseResult struct {
	Topology Topology
	Run      NoiseRun
	Frames   uint64 // that the wire was given
	Lost     uint64 // of them, by the wire
	Blame    *Blame
}

// Noise makes lookups of which none fails for a fault of the nodes, the pods or
// their configuration, and judges the findings that dnspath gives: none may say so.
func Noise(ctx context.Context, t Topology, run NoiseRun) (res *NoiseResult, err error) {
	t.Relay = run.Loss == LossWire
	l, err := New(ctx, t.Config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := t.prepare(ctx, l); err != nil {
		return nil, err
	}
	if err := t.warm(ctx, l); err != nil {
		return nil, err
	}
	if err := l.lose(ctx, run.Loss, run.Part); err != nil {
		return nil, err
	}
	observed := MixedRun{
		Lookups: MixedOptions{
			Count: run.Count, Rate: run.Rate, TCP: 0.2, Seed: run.Seed, Healthy: true, Noise: true,
			Servers: t.servers(), Timeout: run.ToolTimeout * 3 / 4,
		},
		Bin: run.Bin, Args: run.Args, ToolTimeout: run.ToolTimeout, Others: t.caches(),
		Export: run.Export,
	}
	if t.Forward { // what a forwarder asks itself is not told from what it asks for others
		observed.Lookups.Without = DNSA
	}
	if run.OneNode {
		observed.Watched = []*NS{l.NodeA, l.Client, l.DNSA}
	}
	watch := watchStalls()
	mixed, err := ObserveMixed(ctx, l, observed)
	watch.stop()
	if err != nil {
		return nil, err
	}
	res = &NoiseResult{Topology: t, Run: run}
	truth := noiseTruth{NoiseRun: run, caches: t.caches(), asks: run.Loss == LossNetem, still: watch.between}
	if l.Relay != nil {
		res.Frames, res.Lost = l.Relay.Counts()
		truth.lost, truth.asks = l.Relay.Lost, l.Relay.LostAsks()
	}
	res.Blame = truth.judge(mixed.Log, mixed.Export)
	return res, nil
}

// warm asks each server once, so that nodes know each other as those of a cluster do.
func (t Topology) warm(ctx context.Context, l *Lab) error {
	for _, server := range t.servers() {
		for _, from := range []*NS{l.Client, l.NodeA} {
			opts := LookupOptions{Server: server, Name: readyName, Timeout: readyTimeout()}
			if _, err := from.Lookup(ctx, opts); err != nil {
				return fmt.Errorf("ask %v from %s: %w", server, from.Name, err)
			}
		}
	}
	return nil
}

// lose has a lab lose packets between the nodes.
func (l *Lab) lose(ctx context.Context, where Loss, part float64) error {
	switch where {
	case LossWire:
		l.Relay.Lose(part)
	case LossNetem:
		for _, node := range l.nodes() {
			if err := netem(ctx, node, part); err != nil {
				return err
			}
		}
	case LossNone:
	}
	return nil
}

// netem has a node's wire lose packets before they are sent.
func netem(ctx context.Context, node *NS, part float64) error {
	err := tc(ctx, node, "replace", fmt.Sprintf("netem loss %f%%", 100*part))
	if err != nil && strings.Contains(err.Error(), "qdisc") && strings.Contains(err.Error(), "not found") || // iproute2 since 6.9
		err != nil && strings.Contains(err.Error(), "qdisc kind is unknown") {
		return notSupported("the queue netem", "CONFIG_NET_SCH_NETEM")
	}
	return err
}

// Losses returns the ways in which this kernel's labs can lose packets.
func Losses(ctx context.Context) (list []Loss, lacks []string, err error) {
	for _, loss := range []Loss{LossWire, LossNetem} {
		l, err := New(ctx, Config{Relay: loss == LossWire})
		if err == nil {
			err = errors.Join(l.lose(ctx, loss, 0), l.Close())
		}
		switch {
		case errors.Is(err, ErrNotSupported):
			lacks = append(lacks, err.Error())
		case err != nil:
			return nil, nil, err
		default:
			list = append(list, loss)
		}
	}
	return list, lacks, nil
}
