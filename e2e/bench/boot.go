package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"saoluu/internal/command"
)

// bootMark is what the small disk writes on its serial line when it is up.
const bootMark = "BOOT-OK"

// errUp ends a bare machine that is up.
var errUp = errors.New("it is up")

// boot compares the restore test of a small disk that boots with restic restoring it
// and QEMU booting it, both until the same words come. Needs root and what
// scripts/boot-disk.sh needs.
func boot(ctx context.Context, b *bench) error {
	image := filepath.Join(b.dir, "boot.img")
	build := command.Cmd{Argv: []string{filepath.Join(b.root, "scripts", "boot-disk.sh"), "bios", image}, Env: []string{minimalPath, "HOME=" + b.dir}}
	if _, err := command.Run(ctx, build); err != nil {
		return err
	}
	ours, err := b.newRepository(ctx, "ours")
	if err != nil {
		return err
	}
	bare, err := b.newRepository(ctx, "bare")
	if err != nil {
		return err
	}
	check := fmt.Sprintf("{ type = \"image\", path = %q }\nrestore_test.checks = [{ boot = %q, boot_memory = \"256MiB\" }]", image, bootMark)
	s, err := b.newSite(ctx, "site", ours, 1, []job{{"disk", check}})
	if err != nil {
		return err
	}
	// The first test has a negative control, which boots twice.
	for _, c := range []command.Cmd{s.command("backup", "disk"), s.command("test", "disk"), bare.command("backup", "--quiet", image)} {
		if _, err := command.Run(ctx, c); err != nil {
			return err
		}
	}
	to := filepath.Join(b.dir, "bare-restored")
	pairs, err := b.inTurn(func(int) (cost, error) {
		return spend(ctx, s.command("test", "disk"))
	}, func(int) (cost, error) {
		if err := os.RemoveAll(to); err != nil {
			return cost{}, err
		}
		return timed(func() error {
			if _, err := command.Run(ctx, bare.command("restore", "latest", "--quiet", "--no-cache", "--sparse", "--target", to)); err != nil {
				return err
			}
			return bareBoot(ctx, filepath.Join(to, image))
		})
	})
	if err != nil {
		return err
	}
	b.add("wall, to restic's restore and QEMU until it is up", "x", atMost(1.3), each(pairs, wallRatio)...)
	return nil
}

// bareBoot runs a disk in QEMU until it is up.
func bareBoot(ctx context.Context, image string) error {
	_, err := command.Lines(ctx, command.Cmd{
		Argv: []string{
			"qemu-system-x86_64", "-nodefaults", "-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "256", "-vga", "std", "-display", "none",
			"-nic", "none", "-serial", "stdio", "-no-reboot", "-drive", "file=" + image + ",format=raw,if=virtio,snapshot=on",
		},
		Env: []string{minimalPath},
	}, func(line []byte) error {
		if bytes.Contains(line, []byte(bootMark)) {
			return errUp
		}
		return nil
	})
	if errors.Is(err, errUp) {
		return nil
	}
	return errors.Join(fmt.Errorf("the bare machine ended before it was up"), err)
}
