package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

type cosignatureCase struct {
	Name, Vkey, Note, Verdict string // at, absent, wrong
	At                        int64
}

type policyCase struct {
	Name, Policy string
	Wrong        bool
	Heads        []struct {
		Note, Verdict string // met, unmet, refused
		Now           int64
		Age           *int64
	}
}

func judgeVectors(folder string) (string, error) {
	var cosignatures []cosignatureCase
	if err := readJSON(filepath.Join(folder, "cosignatures.json"), &cosignatures); err != nil {
		return "", err
	}
	var policies []policyCase
	if err := readJSON(filepath.Join(folder, "policies.json"), &policies); err != nil {
		return "", err
	}
	judged, left, heads := 0, 0, 0
	for _, one := range cosignatures {
		kind, _, err := keyType(one.Vkey)
		if err != nil {
			return "", err
		}
		if kind == 6 { // ML-DSA-44 is for another judge
			left++
			continue
		}
		judged++
		if verdict, at := judgeCosignature(one); verdict != one.Verdict || at != one.At {
			return "", fmt.Errorf("%s: %s at %d, and not %s at %d", one.Name, verdict, at, one.Verdict, one.At)
		}
	}
	for _, one := range policies {
		read, err := readPolicy(one.Policy)
		if (err != nil) != one.Wrong {
			return "", fmt.Errorf("%s: %v", one.Name, err)
		}
		for i, head := range one.Heads {
			heads++
			if verdict := read.judge(head.Note, head.Now, head.Age); verdict != head.Verdict {
				return "", fmt.Errorf("%s, head %d: %s, and not %s", one.Name, i, verdict, head.Verdict)
			}
		}
	}
	return fmt.Sprintf("cosignatures %d, left out %d, policies %d, heads %d", judged, left, len(policies), heads), nil
}

func readJSON(path string, into any) error {
	octets, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(octets, into)
}

func judgeCosignature(one cosignatureCase) (verdict string, at int64) {
	verifier, err := newVerifier(one.Vkey)
	if err != nil {
		return err.Error(), 0
	}
	at, err = cosignedAt(one.Note, verifier)
	switch {
	case err == errAbsent:
		return "absent", 0
	case err != nil:
		return "wrong", 0
	}
	return "at", at
}

var errAbsent = errors.New("no line by that key")

// cosignedAt is the latest time of a cosigner's lines, each of which must verify: Open would stop at the first.
func cosignedAt(text string, verifier note.Verifier) (latest int64, err error) {
	split := strings.LastIndex(text, "\n\n")
	if split < 0 {
		return 0, errors.New("no signatures")
	}
	latest, err = 0, errAbsent
	for _, line := range strings.SplitAfter(strings.TrimSuffix(text[split+2:], "\n"), "\n") {
		alone := text[:split+2] + strings.TrimSuffix(line, "\n") + "\n"
		opened, wrong := note.Open([]byte(alone), note.VerifierList(verifier))
		if _, unknown := wrong.(*note.UnverifiedNoteError); unknown {
			continue
		}
		if wrong != nil {
			return 0, wrong
		}
		at, wrong := timeOf(opened.Sigs[0])
		if wrong != nil {
			return 0, wrong
		}
		if err != nil || at > latest {
			latest, err = at, nil
		}
	}
	return latest, err
}
