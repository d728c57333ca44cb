package compliance

import (
	"context"
	"errors"
	"time"

	"saoluu/catalog"
)

// A State is one light of the quick posture.
type State string

// The states, best first.
const (
	Good    State = "good"
	Warning State = "warning"
	NoIdea  State = "unknown" // nothing can be said either way
	Failing State = "failing"
)

// A Status is the posture of a site from kept state only.
type Status struct {
	At      time.Time
	Overall State
	Why     string // English; why Overall is not Good, empty if it is
	Jobs    []JobStatus
	Targets []TargetStatus
}

// A JobStatus is one job's light. Times are zero when there is none.
type JobStatus struct {
	Job        string        `json:"job"`
	Title      string        `json:"title"`
	Importance string        `json:"importance"`
	State      State         `json:"state"`
	Why        string        `json:"why"`       // English; all reasons, worst first
	LastGood   time.Time     `json:"last_good"` // consistent time of the newest good run
	Age        time.Duration `json:"-"`         // of LastGood; 0 when there is none
	LastTest   time.Time     `json:"last_test"`
	Verdict    string        `json:"verdict"`
	Level      string        `json:"level"`
	NextDue    time.Time     `json:"next_due"`
	Overdue    int           `json:"overdue"`
	Running    string        `json:"running"` // run under way
}

// A TargetStatus is one target's light.
type TargetStatus struct {
	Target    string    `json:"target"`
	State     State     `json:"state"`
	Why       string    `json:"why"`
	LastCopy  time.Time `json:"last_copy"`
	LastCheck time.Time `json:"last_check"`
	Overdue   int       `json:"overdue"`
}

// A PostureView is the kept state Posture reads. *catalog.Catalog is one.
type PostureView interface {
	Inventory(ctx context.Context, asOf time.Time) (catalog.InventoryAt, error)
	JobStates(ctx context.Context, now time.Time, grace time.Duration) ([]catalog.JobState, error)
	TargetStates(ctx context.Context, now time.Time, grace time.Duration) ([]catalog.TargetState, error)
}

// Posture says how things stand, from kept state only: its cost does not grow
// with the number of runs.
func Posture(ctx context.Context, view PostureView, now time.Time) (Status, error) {
	return Status{}, errors.New("being built")
}
