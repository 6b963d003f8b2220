package main

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const skew = 300 // seconds that a witness's clock may be ahead, where an age is asked for

// A policy is what C2SP tlog-policy says it is; a name stands for a witness's vkey or for a group.
type policy struct {
	logs      []string
	witnesses map[string]string
	groups    map[string]group
	quorum    string
}

type group struct {
	needs   int
	members []string
}

func readPolicy(text string) (*policy, error) {
	p := &policy{witnesses: map[string]string{}, groups: map[string]group{}}
	if !strings.HasSuffix(text, "\n") {
		return nil, errors.New("the last line has no end")
	}
	for _, octet := range []byte(text) {
		if octet != '\t' && octet != '\n' && (octet < 0x20 || octet == 0x7f) {
			return nil, errors.New("control character")
		}
	}
	used := map[string]bool{}
	publics := map[string]bool{} // kind and key
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if err := p.line(words, used, publics); err != nil {
			return nil, fmt.Errorf("%q: %v", line, err)
		}
	}
	if p.quorum == "" {
		return nil, errors.New("no quorum")
	}
	return p, nil
}

func (p *policy) line(words []string, used, publics map[string]bool) error {
	switch {
	case words[0] == "log" && (len(words) == 2 || len(words) == 3):
		p.logs = append(p.logs, words[1])
		return takeKey(words[1], 1, "log", publics)
	case words[0] == "witness" && (len(words) == 3 || len(words) == 4):
		if p.isTaken(words[1]) {
			return errors.New("taken")
		}
		p.witnesses[words[1]] = words[2]
		return takeKey(words[2], 4, "witness", publics)
	case words[0] == "group" && len(words) > 3:
		if p.isTaken(words[1]) {
			return errors.New("taken")
		}
		members := words[3:]
		for _, member := range members {
			if !p.isTaken(member) || member == "none" || used[member] {
				return errors.New("no member")
			}
			used[member] = true
		}
		needs, err := strconv.Atoi(words[2])
		switch words[2] {
		case "any":
			needs, err = 1, nil
		case "all":
			needs, err = len(members), nil
		default:
			if strconv.Itoa(needs) != words[2] {
				return errors.New("no number")
			}
		}
		if err != nil || needs < 1 || needs > len(members) {
			return errors.New("no number of members")
		}
		p.groups[words[1]] = group{needs, members}
		return nil
	case words[0] == "quorum" && len(words) == 2:
		if p.quorum != "" || !p.isTaken(words[1]) {
			return errors.New("no quorum, or another one")
		}
		p.quorum = words[1]
		return nil
	}
	return errors.New("no such line")
}

func (p *policy) isTaken(name string) bool {
	_, witness := p.witnesses[name]
	_, group := p.groups[name]
	return witness || group || name == "none"
}

// takeKey wants a key of that type, or of ML-DSA-44, that is there once.
func takeKey(vkey string, kind byte, what string, publics map[string]bool) error {
	is, public, err := keyType(vkey)
	if err != nil {
		return err
	}
	if !(is == kind && len(public) == 32 || is == 6 && len(public) == 1312) {
		return errors.New("a key of another type or size")
	}
	parts := strings.SplitN(vkey, "+", 3)
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), append([]byte{is}, public...)...))
	if parts[1] != fmt.Sprintf("%x", id[:4]) || parts[0] == "" || len(strings.Fields(parts[0])) != 1 {
		return errors.New("a key with another ID, or no name")
	}
	if base64.StdEncoding.EncodeToString(append([]byte{is}, public...)) != parts[2] {
		return errors.New("another spelling of base64")
	}
	if publics[what+string(public)] {
		return errors.New("that key is there")
	}
	publics[what+string(public)] = true
	return nil
}

// judge says whether the head is met or unmet, or refused: no log of the policy has signed it, or a signature is wrong.
func (p *policy) judge(text string, now int64, age *int64) string {
	origin, _, _ := strings.Cut(text, "\n")
	signed := false
	for _, vkey := range p.logs {
		verifier, err := note.NewVerifier(vkey)
		if err != nil || verifier.Name() != origin {
			continue
		}
		_, err = note.Open([]byte(text), note.VerifierList(verifier))
		if _, unknown := err.(*note.UnverifiedNoteError); err != nil && !unknown {
			return "refused"
		}
		signed = signed || err == nil
	}
	if !signed {
		return "refused"
	}
	counts := map[string]bool{}
	for name, vkey := range p.witnesses {
		verifier, err := newVerifier(vkey)
		if err != nil {
			return "refused"
		}
		at, err := cosignedAt(text, verifier)
		if err != nil && err != errAbsent {
			return "refused"
		}
		counts[name] = err == nil && (age == nil || now-*age <= at && at <= now+skew)
	}
	if p.isMet(p.quorum, counts) {
		return "met"
	}
	return "unmet"
}

func (p *policy) isMet(name string, counts map[string]bool) bool {
	if name == "none" {
		return true
	}
	of, isGroup := p.groups[name]
	if !isGroup {
		return counts[name]
	}
	met := 0
	for _, member := range of.members {
		if p.isMet(member, counts) {
			met++
		}
	}
	return met >= of.needs
}
