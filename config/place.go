package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"saoluu/internal/fault"
)

// PlaceOf reads the address of a repository as restic takes it (restic manual,
// "Preparing a new repository") and returns a target without name and secrets.
// It is the inverse of Target.Repository.
func PlaceOf(address string) (Target, error) {
	bad := func(why string) (Target, error) {
		return Target{}, fault.New(fault.Usage, fmt.Sprintf("address %q", address), errors.New(why),
			"write a path, s3:https://HOST/BUCKET/PREFIX, sftp://USER@HOST:PORT/PATH or rest:https://HOST/PATH/")
	}
	t := Target{Parallel: 1}
	scheme, rest, is := strings.Cut(address, ":")
	if !is || strings.HasPrefix(address, "/") || strings.HasPrefix(address, ".") {
		scheme, rest = "local", strings.TrimPrefix(address, "local:")
	}
	t.Type = scheme
	switch scheme {
	case "local":
		abs, err := filepath.Abs(rest)
		if err != nil || rest == "" {
			return bad("it is empty")
		}
		t.Path = abs
		return t, nil
	case "sftp":
		u, err := url.Parse("sftp:" + rest)
		if err != nil || u.Host == "" || u.User.Username() == "" || u.Path == "" {
			return bad("it does not name user, host and path")
		}
		t.Host, t.User, t.Port, t.Path = u.Hostname(), u.User.Username(), 22, path.Clean("/"+u.Path)
		if u.Port() != "" {
			if t.Port, err = strconv.Atoi(u.Port()); err != nil {
				return bad("its port is not a number")
			}
		}
		return t, nil
	}
	u, err := url.Parse(rest)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return bad("it does not name a server with https")
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return bad("data and passwords would go over the network in the clear")
	}
	switch scheme {
	case "s3":
		bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
		if bucket == "" || u.User != nil {
			return bad("it does not name a bucket, or holds a password")
		}
		t.Endpoint, t.Bucket, t.Prefix = u.Scheme+"://"+u.Host, bucket, prefix
		return t, nil
	case "rest":
		if u.User != nil {
			return bad("it holds a user or a password")
		}
		t.URL = strings.TrimSuffix(u.String(), "/")
		return t, nil
	}
	return bad("its kind is not known")
}
