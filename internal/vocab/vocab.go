// Package vocab converts between the values of core/flow, the enums of the control API and
// their names in text, in one place. Names are lower case, as commands and JSON show them.
// It is not for sentences.
package vocab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
)

// Verdict returns v as the API's enum. The numbers are the same, which a test holds.
func Verdict(v flow.Verdict) controlv1.Verdict { return controlv1.Verdict(v) }

// Reason returns r as the API's enum.
func Reason(r flow.Reason) controlv1.Reason { return controlv1.Reason(r) }

// Outcome returns o as the API's enum.
func Outcome(o flow.Outcome) controlv1.Outcome { return controlv1.Outcome(o) }

// Evidence returns e as the API's enum.
func Evidence(e flow.Evidence) controlv1.Evidence { return controlv1.Evidence(e) }

// FlowVerdict returns v as in core/flow; NoVerdict if unknown.
func FlowVerdict(v controlv1.Verdict) flow.Verdict {
	return known(flow.Verdict(v), controlv1.Verdict_name[int32(v)])
}

// FlowReason returns r as in core/flow; NoReason if unknown.
func FlowReason(r controlv1.Reason) flow.Reason {
	return known(flow.Reason(r), controlv1.Reason_name[int32(r)])
}

// FlowOutcome returns o as in core/flow; OutcomeOpening if unknown.
func FlowOutcome(o controlv1.Outcome) flow.Outcome {
	return known(flow.Outcome(o), controlv1.Outcome_name[int32(o)])
}

// FlowEvidence returns e as in core/flow; EvidencePort if unknown.
func FlowEvidence(e controlv1.Evidence) flow.Evidence {
	return known(flow.Evidence(e), controlv1.Evidence_name[int32(e)])
}

// known returns v if the enum has a name for it.
func known[T any](v T, name string) T {
	if name == "" {
		var zero T
		return zero
	}
	return v
}

// Family returns the family of an address.
func Family(ipv6 bool) controlv1.Family {
	if ipv6 {
		return controlv1.Family_FAMILY_IPV6
	}
	return controlv1.Family_FAMILY_IPV4
}

// enum is implemented by the enums that protobuf generates.
type enum interface {
	~int32
	fmt.Stringer
}

// prefix returns the prefix of an enum's names.
func prefix[E enum]() string {
	var zero E
	s := zero.String() // VERDICT_UNSPECIFIED
	return strings.TrimSuffix(s, "UNSPECIFIED")
}

// Text returns the name of a value in lower case: "allow" of VERDICT_ALLOW. The zero is "", but
// for Outcome, whose zero is "opening", and Evidence, whose zero is "port".
func Text[E enum](e E) string {
	switch v := any(e).(type) {
	case controlv1.Outcome:
		return FlowOutcome(v).String()
	case controlv1.Evidence:
		return FlowEvidence(v).String()
	}
	if e == 0 {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(e.String(), prefix[E]()))
}

// Parse returns the value of a name, in any case. values is the map that protobuf generates for the enum,
// kind is its name in errors.
func Parse[E enum](kind, name string, values map[string]int32) (E, error) {
	want := strings.ToUpper(strings.ReplaceAll(strings.TrimSpace(name), "-", "_"))
	var names []string
	for _, full := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { return int(values[a] - values[b]) }) {
		e := E(values[full])
		text := Text(e)
		if text == "" {
			continue
		}
		if strings.ToUpper(text) == want {
			return e, nil
		}
		names = append(names, text)
	}
	return 0, fmt.Errorf("no %s is called %q: use %s", kind, name, strings.Join(names, ", "))
}
