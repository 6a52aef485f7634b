package server

import (
	"errors"
	"fmt"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

// modeEnum returns a mode as the API's enum, whose zero is for groups without a mode.
func modeEnum(m policy.Mode) controlv1.Mode { return controlv1.Mode(m) + 1 }

// parseMode returns the mode of the API's enum.
func parseMode(m controlv1.Mode) (policy.Mode, error) {
	switch m {
	case controlv1.Mode_MODE_DISCOVER, controlv1.Mode_MODE_MONITOR, controlv1.Mode_MODE_PROTECT:
		return policy.Mode(m - 1), nil
	case controlv1.Mode_MODE_UNSPECIFIED:
		return 0, errors.New("no mode is given: use discover, monitor or protect")
	}
	return 0, fmt.Errorf("mode %d does not exist: use discover, monitor or protect", m)
}

// actionEnum returns a rule's action as the API's enum.
func actionEnum(a model.Action) controlv1.Action {
	if a == model.Deny {
		return controlv1.Action_ACTION_DENY
	}
	return controlv1.Action_ACTION_ALLOW
}

// parseAction returns the action of the API's enum; allow where none is given.
func parseAction(a controlv1.Action) (model.Action, error) {
	switch a {
	case controlv1.Action_ACTION_UNSPECIFIED, controlv1.Action_ACTION_ALLOW:
		return model.Allow, nil
	case controlv1.Action_ACTION_DENY:
		return model.Deny, nil
	}
	return "", fmt.Errorf("rule: action %d does not exist: use allow or deny", a)
}

// originEnum returns a rule's origin as the API's enum.
func originEnum(o model.Origin) controlv1.Origin {
	switch o {
	case model.Learned:
		return controlv1.Origin_ORIGIN_LEARNED
	case model.Imported:
		return controlv1.Origin_ORIGIN_IMPORTED
	}
	return controlv1.Origin_ORIGIN_USER
}

// parseOrigin returns the origin of the API's enum; user where none is given.
func parseOrigin(o controlv1.Origin) (model.Origin, error) {
	switch o {
	case controlv1.Origin_ORIGIN_UNSPECIFIED, controlv1.Origin_ORIGIN_USER:
		return model.ByUser, nil
	case controlv1.Origin_ORIGIN_IMPORTED:
		return model.Imported, nil
	case controlv1.Origin_ORIGIN_LEARNED:
		return model.Learned, nil
	}
	return "", fmt.Errorf("rule: origin %d does not exist: use user or imported", o)
}

// kindEnum returns a group's kind as the API's enum.
func kindEnum(k model.Kind) controlv1.GroupKind {
	switch k {
	case model.Service:
		return controlv1.GroupKind_GROUP_KIND_SERVICE
	case model.Reserved:
		return controlv1.GroupKind_GROUP_KIND_RESERVED
	}
	return controlv1.GroupKind_GROUP_KIND_USER
}

// family returns the family of an address as the API's enum.
func family(ipv6 bool) controlv1.Family { return vocab.Family(ipv6) }
