package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
)

// SetHold sets how long service groups hold payload, or what follows, and, if the request has
// wait, waits until agents enforce it.
func (c *control) SetHold(ctx context.Context, r *controlv1.SetHoldRequest) (*controlv1.SetHoldResponse, error) {
	expired, err := parseExpired(r.Expired)
	if err == nil {
		err = model.CheckHold(time.Duration(r.GetHold()))
	}
	if err == nil && r.Hold == nil && expired == model.ExpiredDefault {
		err = errors.New("neither a hold time nor what follows it is given")
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	named, changed, err := (edit{c.s}).changeGroups(r.Groups, func(g *model.Group) bool {
		before := *g
		if r.Hold != nil {
			g.Hold = time.Duration(r.GetHold())
		}
		if expired != model.ExpiredDefault {
			g.HoldExpired = expired
		}
		return g.Hold != before.Hold || g.HoldExpired != before.HoldExpired
	})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	out := new(controlv1.SetHoldResponse)
	out.Policy, out.Enforced, out.Groups, err = c.groupsInForce(ctx, r.Wait, named, changed)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// expiredEnum returns what follows an expired hold as the API's enum.
func expiredEnum(e model.Expired) controlv1.HoldExpired {
	switch e {
	case model.ExpiredPass:
		return controlv1.HoldExpired_HOLD_EXPIRED_PASS
	case model.ExpiredDeny:
		return controlv1.HoldExpired_HOLD_EXPIRED_DENY
	}
	return controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED
}

// parseExpired returns what follows an expired hold of the API's enum.
func parseExpired(e controlv1.HoldExpired) (model.Expired, error) {
	switch e {
	case controlv1.HoldExpired_HOLD_EXPIRED_UNSPECIFIED:
		return model.ExpiredDefault, nil
	case controlv1.HoldExpired_HOLD_EXPIRED_PASS:
		return model.ExpiredPass, nil
	case controlv1.HoldExpired_HOLD_EXPIRED_DENY:
		return model.ExpiredDeny, nil
	}
	return "", fmt.Errorf("%d does not exist for expired holds: use pass or deny", e)
}
