package ratelimit

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// simulation runs several processes that share one Row, in virtual time.
type simulation struct {
	rate      Rate
	row       Row
	processes []*process
	events    queue
	random    *rand.Rand
	store     time.Duration // how long a call of the store takes
	admitted  []use
	waited    int
	calls     int
}

type use struct {
	at   time.Duration
	cost int64
}

type process struct {
	*simulation
	holder  Holder
	waiting []int64
	life    int // counts restarts: an answer for an earlier life is lost
}

type event struct {
	at time.Duration
	do func(now time.Duration)
}

type queue []event

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

func (s *simulation) at(t time.Duration, do func(now time.Duration)) {
	heap.Push(&s.events, event{t, do})
}

func (s *simulation) run(end time.Duration) {
	for len(s.events) > 0 {
		next := heap.Pop(&s.events).(event)
		if next.at > end {
			return
		}
		next.do(next.at)
	}
}

// request is what the process does with a request, except that a real one blocks
// while it waits.
func (p *process) request(cost int64, now time.Duration) {
	switch {
	case p.holder.Spend(cost, now):
		p.admitted = append(p.admitted, use{now, cost})
		if p.holder.Low(now) {
			p.ask(now)
		}
	case p.paused(cost, now):
	default:
		p.waited++
		p.waiting = append(p.waiting, cost)
		if !p.holder.asking {
			p.ask(now)
		}
	}
}

func (p *process) paused(cost int64, now time.Duration) bool {
	_, paused := p.holder.Paused(p.rate, cost, now)
	return paused
}

func (p *process) ask(now time.Duration) {
	costs := p.waiting
	p.waiting = nil
	p.call(p.holder.Ask(p.rate, costs, now), now)
}

func (p *process) call(ask Reservation, called time.Duration) {
	p.calls++
	life := p.life
	var got Grant
	p.at(called+p.store/2, func(now time.Duration) {
		p.row, got = p.rate.Reserve(p.row, int64(now), ask)
		for _, cost := range ask.Costs[:got.Taken] {
			if p.life == life {
				p.admitted = append(p.admitted, use{now, cost})
			}
		}
	})
	p.at(called+p.store, func(now time.Duration) {
		if p.life != life {
			return
		}
		p.holder.Granted(p.rate, ask, got, called, now)
		waiting := p.waiting
		p.waiting = nil
		for _, cost := range waiting { // those that came during the call
			if p.holder.Spend(cost, now) {
				p.admitted = append(p.admitted, use{now, cost})
			} else if !p.paused(cost, now) {
				p.waiting = append(p.waiting, cost)
			}
		}
		if len(p.waiting) > 0 || p.holder.Low(now) {
			p.ask(now)
		}
	})
}

// giveBack is what the process does from time to time.
func (p *process) giveBack(now time.Duration) {
	if p.holder.Ending(now) {
		p.call(p.holder.Release(now), now)
	}
	p.at(now+50*time.Millisecond, p.giveBack)
}

// kill restarts the process. It loses what it holds.
func (p *process) kill() {
	p.holder, p.waiting = Holder{}, nil
	p.life++
}

// traffic are requests at random processes.
type traffic struct {
	perSecond float64
	bursts    int // requests that come at once
	end       time.Duration
}

func (s *simulation) arrive(t traffic, all *[]use) {
	gap := func() time.Duration {
		return time.Duration(s.random.ExpFloat64() * float64(t.bursts) / t.perSecond * float64(time.Second))
	}
	var next func(now time.Duration)
	next = func(now time.Duration) {
		p := s.processes[s.random.IntN(len(s.processes))]
		for range t.bursts {
			*all = append(*all, use{now, 1})
			p.request(1, now)
		}
		if now < t.end {
			s.at(now+gap(), next)
		}
	}
	s.at(gap(), next)
}

// excess returns by how many units at most the uses of any window passed the limit.
func excess(units int64, per time.Duration, burst int64, uses []use) float64 {
	level, last, most := 0.0, time.Duration(0), 0.0
	for _, u := range uses {
		level = max(0, level-float64(u.at-last)*float64(units)/float64(per)) + float64(u.cost)
		last, most = u.at, max(most, level)
	}
	return max(0, most-float64(burst))
}

// exact returns how many of the units one bucket would have allowed.
func exact(r Rate, uses []use) (allowed int64) {
	fullAt := int64(0)
	for _, u := range uses {
		if next, ok := r.take(fullAt, int64(u.at), u.cost); ok {
			fullAt, allowed = next, allowed+u.cost
		}
	}
	return allowed
}

func TestProcessesTogetherNeverPassTheLimit(t *testing.T) {
	t.Parallel()
	limits := []struct {
		units int64
		per   time.Duration
		burst int64
	}{
		{1000, time.Second, 1000},
		{1000, time.Second, 100},
		{200, time.Second, 50},
		{20, time.Second, 20},
		{100, time.Minute, 100},
		{10_000, 24 * time.Hour, 10_000},
		{1000, time.Second, 1},
		{5, time.Second, 5},
	}
	for _, limit := range limits {
		for _, load := range []float64{0.3, 1, 10} {
			for _, bursts := range []int{1, 20} {
				for _, processes := range []int{4, 16} {
					for _, kills := range []bool{false, true} {
						name := fmt.Sprintf("%d per %s, burst %d, load %v, bursts of %d, %d processes, kills %v",
							limit.units, limit.per, limit.burst, load, bursts, processes, kills)
						t.Run(name, func(t *testing.T) {
							t.Parallel()
							simulate(t, limit.units, limit.per, limit.burst, load, bursts, processes, kills)
						})
					}
				}
			}
		}
	}
}

func simulate(t *testing.T, units int64, per time.Duration, burst int64, load float64, bursts, processes int, kills bool) {
	r := New(units, per, burst)
	s := &simulation{rate: r, random: rand.New(rand.NewPCG(uint64(processes), uint64(load*10))), store: time.Millisecond}
	perSecond := load * float64(units) / per.Seconds()
	end := min(time.Duration(2_000/perSecond*float64(time.Second)), max(time.Minute, 5*r.RefillTime()))
	for range processes {
		p := &process{simulation: s}
		s.processes = append(s.processes, p)
		s.at(0, p.giveBack)
		if kills {
			var kill func(now time.Duration)
			kill = func(now time.Duration) {
				p.kill()
				s.at(now+time.Duration(processes)*time.Second, kill)
			}
			s.at(time.Duration(len(s.processes))*time.Second, kill)
		}
	}
	var all []use
	s.arrive(traffic{perSecond, bursts, end}, &all)
	s.run(end + 2*time.Second)

	if over := excess(units, per, burst, s.admitted); over > 1e-6 {
		t.Errorf("the processes allowed %.2f units more than the limit", over)
	}
	got := int64(0)
	for _, u := range s.admitted {
		got += u.cost
	}
	fraction := float64(got) / float64(exact(r, all))
	t.Logf("%.3f of one exact bucket, %.1f %% waited, %.1f calls a second and process",
		fraction, 100*float64(s.waited)/float64(len(all)), float64(s.calls)/end.Seconds()/float64(processes))
	if processes == 4 && !kills && load >= 1 && fraction < 0.95 {
		t.Errorf("the processes allowed %.3f of what one exact bucket allows, want at least 0.95", fraction)
	}
}
