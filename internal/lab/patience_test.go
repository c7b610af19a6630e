package lab

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		slow     string
		patience time.Duration
		share    int
	}{
		{"", time.Second, 30},
		{"10", 10 * time.Second, 3},
		{"100", 100 * time.Second, 1},
		{"0", time.Second, 30},
		{"nonsense", time.Second, 30},
	} {
		t.Setenv(slowEnv, c.slow)
		if got := Patience(time.Second); got != c.patience {
			t.Errorf("%s=%q: patience %s, want %s", slowEnv, c.slow, got, c.patience)
		}
		if got := Share(30); got != c.share {
			t.Errorf("%s=%q: share %d, want %d", slowEnv, c.slow, got, c.share)
		}
	}
}
