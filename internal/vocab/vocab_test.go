package vocab_test

import (
	"strings"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// TestNumbers holds core/flow and the API's enums together: same numbers, same names.
func TestNumbers(t *testing.T) {
	check := func(kind string, n int, core, api func(i int) string) {
		for i := range n + 3 {
			c, a := core(i), api(i)
			if i >= n {
				continue
			}
			if i == 0 && (c == "none" || kind == "outcome" || kind == "evidence") {
				continue
			}
			if !strings.EqualFold(a, c) {
				t.Errorf("%s %d is %q in core/flow and %q in the API", kind, i, c, a)
			}
		}
	}
	check("verdict", len(controlv1.Verdict_name), func(i int) string { return flow.Verdict(i).String() }, func(i int) string { return vocab.Text(vocab.Verdict(flow.Verdict(i))) })
	check("reason", len(controlv1.Reason_name), func(i int) string { return flow.Reason(i).String() }, func(i int) string { return vocab.Text(vocab.Reason(flow.Reason(i))) })
	check("outcome", len(controlv1.Outcome_name), func(i int) string { return flow.Outcome(i).String() }, func(i int) string {
		return strings.TrimPrefix(controlv1.Outcome(i).String(), "OUTCOME_")
	})
	check("evidence", len(controlv1.Evidence_name), func(i int) string { return flow.Evidence(i).String() }, func(i int) string {
		return strings.TrimPrefix(controlv1.Evidence(i).String(), "EVIDENCE_")
	})
	// A value that this version does not know is the zero.
	if vocab.FlowVerdict(99) != flow.NoVerdict || vocab.FlowReason(99) != flow.NoReason || vocab.FlowOutcome(99) != flow.OutcomeOpening || vocab.FlowEvidence(99) != flow.EvidencePort {
		t.Error("a value from another version is not the zero")
	}
}

func TestText(t *testing.T) {
	for want, got := range map[string]string{
		"allow": vocab.Text(controlv1.Verdict_VERDICT_ALLOW), "hold_expired": vocab.Text(controlv1.Reason_REASON_HOLD_EXPIRED),
		"opening": vocab.Text(controlv1.Outcome_OUTCOME_UNSPECIFIED), "refused": vocab.Text(controlv1.Outcome_OUTCOME_REFUSED),
		"port": vocab.Text(controlv1.Evidence_EVIDENCE_PORT), "protect": vocab.Text(controlv1.Mode_MODE_PROTECT), "": vocab.Text(controlv1.Mode_MODE_UNSPECIFIED),
		"service": vocab.Text(controlv1.GroupKind_GROUP_KIND_SERVICE), "ipv6": vocab.Text(vocab.Family(true)), "ipv4": vocab.Text(vocab.Family(false)),
		"restarting": vocab.Text(controlv1.PluginPhase_PLUGIN_PHASE_RESTARTING),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestParse(t *testing.T) {
	v, err := vocab.Parse[controlv1.Verdict]("verdict", " Deny", controlv1.Verdict_value)
	if err != nil || v != controlv1.Verdict_VERDICT_DENY {
		t.Errorf("got %v, %v", v, err)
	}
	if o, err := vocab.Parse[controlv1.Outcome]("outcome", "opening", controlv1.Outcome_value); err != nil || o != 0 {
		t.Errorf("got %v, %v", o, err)
	}
	if r, err := vocab.Parse[controlv1.Reason]("reason", "hold-expired", controlv1.Reason_value); err != nil || r != controlv1.Reason_REASON_HOLD_EXPIRED {
		t.Errorf("got %v, %v", r, err)
	}
	_, err = vocab.Parse[controlv1.Mode]("mode", "protekt", controlv1.Mode_value)
	if want := `no mode is called "protekt": use discover, monitor, protect`; err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if _, err := vocab.Parse[controlv1.Mode]("mode", "unspecified", controlv1.Mode_value); err == nil {
		t.Error("the zero has a name")
	}
}
