package clusterdemo

import (
	"fmt"
	"time"

	"github.com/sluicenet/sluice/internal/stage/story"
)

// Report is what a demo found, as `sluice-demo cluster --json` prints it.
type Report struct {
	OK bool `json:"ok"`
	// Made are the connections that clients made, Unwatched those of them that were under way while their
	// node had no agent, or in the second before, Known those that the controller has in the end.
	Made      int `json:"made"`
	Unwatched int `json:"unwatched"`
	Known     int `json:"known"`
	// Tried are the intruder's attempts, Violations those that the controller has in the end.
	Tried      int `json:"tried"`
	Violations int `json:"violations"`
	// Takeover is from the death of the leading controller to the first answer of the other; Recovery from
	// the death of Consul's leader to a new rule in force on every node; AgentBack from the start of an
	// agent to policy in force. Milliseconds.
	Takeover  int64 `json:"takeover_ms"`
	Recovery  int64 `json:"recovery_ms"`
	AgentBack int64 `json:"agent_back_ms"`
	// Gap is the longest time without a served connection while those died, milliseconds.
	Gap      int64    `json:"gap_ms"`
	Seconds  float64  `json:"seconds"`
	Problems []string `json:"problems"`
}

// mostGap is how long no connection may be served, of four clients that make one each 40 ms.
const mostGap = 3 * time.Second

// judge adds the problems of a report.
func (r *Report) judge() {
	if r.Made == 0 || r.Tried == 0 {
		r.Problems = append(r.Problems, "nothing was made or tried")
	}
	if r.Gap > mostGap.Milliseconds() {
		r.Problems = append(r.Problems, fmt.Sprintf("no connection was served for %d ms", r.Gap))
	}
	r.OK = len(r.Problems) == 0
}

// teller writes the demo's output.
type teller struct{ story.Teller }

// verdict ends the story.
func (t *teller) verdict(r *Report) {
	if r.OK {
		fmt.Fprintf(t.W, "\n%s\n", t.Paint("1;32", fmt.Sprintf("Everything held: of %d connections none was lost and none counted twice, %d attempts were refused.", r.Made, r.Tried)))
		return
	}
	fmt.Fprintf(t.W, "\n%s\n", t.Paint("1;31", "Not everything held:"))
	for _, p := range r.Problems {
		t.Say("%s", p)
	}
}
