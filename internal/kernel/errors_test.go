package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestErrorsIs holds the promises that doc comments make of errors.Is.
func TestErrorsIs(t *testing.T) {
	sentinels := map[string]error{
		"ErrNotSupported": ErrNotSupported, "ErrPermission": ErrPermission, "ErrClosed": ErrClosed, "fs.ErrNotExist": fs.ErrNotExist,
	}
	tests := []struct {
		name string
		err  error
		is   []string
	}{
		{"feature", &FeatureError{Feature: "BTF", Needs: "CONFIG_DEBUG_INFO_BTF=y"}, []string{"ErrNotSupported"}},
		{"feature with a cause", &FeatureError{Feature: "BTF", Cause: fs.ErrNotExist}, []string{"ErrNotSupported", "fs.ErrNotExist"}},
		{"wrapped feature", fmt.Errorf("open: %w", &FeatureError{Feature: "BTF"}), []string{"ErrNotSupported"}},
		{"capability", missing(0), []string{"ErrPermission"}},
		{"closed session", func() error { _, err := (&Session{closed: true}).Losses(); return err }(), []string{"ErrClosed"}},
		{"closed session, netfilter", (&Session{closed: true}).SyncNetfilter(nil), []string{"ErrClosed"}},
		{"closed session, tc", (&Session{closed: true}).SyncTCX(nil, nil), []string{"ErrClosed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := map[string]bool{}
			for _, name := range tt.is {
				is[name] = true
			}
			for name, sentinel := range sentinels {
				if got := errors.Is(tt.err, sentinel); got != is[name] {
					t.Errorf("errors.Is(%v, %s) is %t", tt.err, name, got)
				}
			}
		})
	}
}

func TestFeatureError(t *testing.T) {
	err := fmt.Errorf("open: %w", &FeatureError{Feature: "BTF", Needs: "CONFIG_DEBUG_INFO_BTF=y", Cause: fs.ErrNotExist})
	var feature *FeatureError
	if !errors.As(err, &feature) || feature.Feature != "BTF" || feature.Needs != "CONFIG_DEBUG_INFO_BTF=y" {
		t.Errorf("errors.As gave %+v", feature)
	}
	want := "open: BTF is not supported by this kernel: needs CONFIG_DEBUG_INFO_BTF=y (file does not exist)"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	feature.Cause = nil
	if diff := cmp.Diff("BTF is not supported by this kernel: needs CONFIG_DEBUG_INFO_BTF=y", feature.Error()); diff != "" {
		t.Errorf("error without a cause (-want +got):\n%s", diff)
	}
}

func TestReason(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"not supported", fmt.Errorf("probe: %w", ebpf.ErrNotSupported), "needs Linux 6.4"},
		{"not permitted", fmt.Errorf("probe: %w", unix.EPERM), "needs Linux 6.4: operation not permitted, although all capabilities are there: by its configuration or a security module"},
		{"anything else", unix.EINVAL, "needs Linux 6.4: invalid argument"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := reason("needs Linux 6.4", tt.err); got != tt.want {
				t.Errorf("reason is %q, want %q", got, tt.want)
			}
		})
	}
}
