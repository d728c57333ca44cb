package main

import (
	"saoluu/config"
	"saoluu/jobs"
)

// places bound how many jobs are worked on at once: as many as the targets take,
// and besides so many as may wait for their copies to be made together.
type places struct{ working, resting chan struct{} }

func newPlaces(c *config.Config) places {
	return places{make(chan struct{}, jobs.Workers(c)), make(chan struct{}, jobs.Resting)}
}

// A place is held by one job.
type place struct {
	all  places
	held chan struct{}
}

// take waits for a place to work in. Leave it once.
func (p places) take() *place {
	p.working <- struct{}{}
	return &place{p, p.working}
}

// rest exchanges a place to work in for one to wait in, if there is one.
func (p *place) rest() {
	select {
	case p.all.resting <- struct{}{}:
		<-p.held
		p.held = p.all.resting
	default:
	}
}

func (p *place) leave() { <-p.held }
