package guest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"saoluu/internal/fault"
	"saoluu/internal/qmp"
)

const (
	// agentLimit bounds the wait for the first word of a guest's agent.
	agentLimit = 5 * time.Second
	// thawLimit bounds how long it is tried to let file systems go again.
	thawLimit = 30 * time.Second
)

// atRest makes the moment while the file systems of the guest are at rest, if it has an
// agent that brings them there (QEMU Guest Agent Protocol, guest-fsfreeze-freeze). They
// are let go on every way out; that they could not be is an error, the worst there is:
// the guest stands still.
func (h *Held) atRest(ctx context.Context, moment func() error) (err error) {
	m := &h.mark
	var agent *qmp.Agent
	switch {
	case m.Machine.Domain != "":
		_, err = m.Machine.virsh(ctx, "guestinfo", "--hostname") // it answers
	case m.Machine.Agent == "":
		err = errors.New("no guest agent is set")
	default:
		agent, err = qmp.DialAgent(ctx, m.Machine.Agent, agentLimit)
	}
	if err != nil {
		h.Rest = fmt.Sprintf("not brought to rest: %v", err)
		return moment()
	}
	m.Frozen = true
	if err := m.write(h.dir); err != nil {
		return errors.Join(err, agent.Close())
	}
	defer func() { err = errors.Join(err, m.thaw(context.WithoutCancel(ctx), h.dir)) }()
	frozen, err := m.freeze(ctx, agent)
	if err == nil && frozen == 0 {
		err = errors.New("the guest agent found none")
	}
	if err != nil {
		h.Rest = fmt.Sprintf("not brought to rest: %v", err)
	} else {
		h.Rest, h.AtRest = fmt.Sprintf("%d brought to rest by the guest agent", frozen), true
	}
	_ = agent.Close() // it serves one at a time
	return moment()
}

// freeze brings file systems to rest, and returns how many.
func (m *mark) freeze(ctx context.Context, agent *qmp.Agent) (n int, err error) {
	if agent != nil {
		err = agent.Ask(ctx, "guest-fsfreeze-freeze", nil, &n)
		return n, err
	}
	said, err := m.Machine.virsh(ctx, "domfsfreeze")
	if err != nil {
		return 0, err
	}
	_, err = fmt.Sscanf(said, "Froze %d", &n)
	return n, err
}

// thaw lets the file systems of the guest go, if they may be at rest, and notes so.
func (m *mark) thaw(ctx context.Context, scratch string) error {
	if !m.Frozen {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, thawLimit)
	defer cancel()
	for {
		err := m.thawOnce(ctx)
		if err == nil || gone(err) || noDomain(err) { // without a machine nothing stands still
			m.Frozen = false
			return m.write(scratch)
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Failed, "file systems of the "+m.Machine.String(), fmt.Errorf("they may still be frozen: %w", err),
				`thaw them at once: send {"execute":"guest-fsfreeze-thaw"} to the agent's socket, run "virsh domfsthaw", or "fsfreeze --unfreeze" in the guest`)
		case <-time.After(retryPause):
		}
	}
}

func (m *mark) thawOnce(ctx context.Context) error {
	if m.Machine.Domain != "" {
		_, err := m.Machine.virsh(ctx, "domfsthaw")
		return err
	}
	agent, err := qmp.DialAgent(ctx, m.Machine.Agent, agentLimit)
	if err != nil {
		return err
	}
	defer agent.Close()
	return agent.Ask(ctx, "guest-fsfreeze-thaw", nil, nil)
}
