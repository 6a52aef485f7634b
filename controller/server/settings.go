package server

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// stale returns the error of a compare-and-set whose revision is not the present one.
func stale(what string, given, present uint64) error {
	return status.Errorf(codes.Aborted, "%s has revision %d and %d was given: another user changed it; read it again, and repeat the change", what, present, given)
}

// GetSettings returns the settings that hold for everything.
func (c *control) GetSettings(context.Context, *controlv1.GetSettingsRequest) (*controlv1.GetSettingsResponse, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return &controlv1.GetSettingsResponse{Settings: settingsMessage(&s.settings)}, nil
}

// PutSettings writes the settings whole.
func (c *control) PutSettings(ctx context.Context, r *controlv1.PutSettingsRequest) (*controlv1.PutSettingsResponse, error) {
	next, err := parseSettings(r.Settings)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := (edit{c.s}).putSettings(next); err != nil {
		return nil, err
	}
	if err := c.s.inForce(ctx); err != nil {
		return nil, err
	}
	return &controlv1.PutSettingsResponse{Settings: settingsMessage(next)}, nil
}

func (s edit) putSettings(next *model.Settings) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next.Revision != s.settings.Revision {
		return stale("the settings", next.Revision, s.settings.Revision)
	}
	next.Revision++
	s.settings = *next
	s.dir.settings = next.Internal
	s.dir.index()
	s.stale = true
	s.kick()
	if err := s.mark(keySettings, &s.settings); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return nil
}

func settingsMessage(m *model.Settings) *controlv1.Settings {
	return &controlv1.Settings{DefaultMode: modeEnum(m.DefaultMode), DefaultFail: failEnum(m.DefaultFail),
		DefaultHold: int64(m.DefaultHold), DefaultHoldExpired: expiredEnum(m.DefaultHoldExpired), Internal: prefixTexts(m.Internal), Exempt: prefixTexts(m.Exempt), Revision: m.Revision}
}

// parseSettings checks what a client wrote.
func parseSettings(m *controlv1.Settings) (*model.Settings, error) {
	if m == nil {
		return nil, fmt.Errorf("no settings are given")
	}
	out := &model.Settings{Revision: m.Revision}
	var err error
	if m.DefaultMode != controlv1.Mode_MODE_UNSPECIFIED {
		if out.DefaultMode, err = parseMode(m.DefaultMode); err != nil {
			return nil, err
		}
	}
	if out.DefaultFail, err = parseFail(m.DefaultFail); err != nil {
		return nil, err
	}
	out.DefaultHold = time.Duration(m.DefaultHold)
	if out.DefaultHoldExpired, err = parseExpired(m.DefaultHoldExpired); err != nil {
		return nil, err
	}
	if out.Internal, err = parsePrefixes("internal", m.Internal); err != nil {
		return nil, err
	}
	if out.Exempt, err = parsePrefixes("exempt", m.Exempt); err != nil {
		return nil, err
	}
	return out, out.Validate()
}

func prefixTexts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// parsePrefixes parses the CIDRs of a field; errors have the field's name.
func parsePrefixes(field string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not a prefix: write 10.1.0.0/16 or 2001:db8::/32", field, text)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// failEnum returns a fail mode as the API's enum.
func failEnum(f model.Fail) controlv1.Fail {
	switch f {
	case model.FailOpen:
		return controlv1.Fail_FAIL_OPEN
	case model.FailClosed:
		return controlv1.Fail_FAIL_CLOSED
	}
	return controlv1.Fail_FAIL_UNSPECIFIED
}

// parseFail returns the fail mode of the API's enum.
func parseFail(f controlv1.Fail) (model.Fail, error) {
	switch f {
	case controlv1.Fail_FAIL_UNSPECIFIED:
		return model.FailDefault, nil
	case controlv1.Fail_FAIL_OPEN:
		return model.FailOpen, nil
	case controlv1.Fail_FAIL_CLOSED:
		return model.FailClosed, nil
	}
	return "", fmt.Errorf("fail mode %d does not exist: use open or closed", f)
}
