package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A cosigner verifies lines of type 0x04, which x/mod does not know: C2SP tlog-cosignature, cosignature/v1.
type cosigner struct {
	name   string
	id     uint32
	public ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.id }

func (c cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	if at > math.MaxInt64 {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", at, text)
	return ed25519.Verify(c.public, []byte(message), signature[8:])
}

// keyType is the type octet of a vkey, and its public key.
func keyType(vkey string) (byte, []byte, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return 0, nil, fmt.Errorf("%q is no vkey", vkey)
	}
	octets, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(octets) == 0 {
		return 0, nil, fmt.Errorf("%q is no vkey", vkey)
	}
	return octets[0], octets[1:], nil
}

// newVerifier is that of a log (0x01) or of a witness (0x04).
func newVerifier(vkey string) (note.Verifier, error) {
	kind, public, err := keyType(vkey)
	if err != nil {
		return nil, err
	}
	if kind != 4 {
		return note.NewVerifier(vkey)
	}
	parts := strings.SplitN(vkey, "+", 3)
	id, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is no vkey of a cosigner", vkey)
	}
	return cosigner{parts[0], uint32(id), public}, nil
}

// timeOf is what a cosignature line says.
func timeOf(signature note.Signature) (int64, error) {
	octets, err := base64.StdEncoding.DecodeString(signature.Base64)
	if err != nil || len(octets) != 4+8+ed25519.SignatureSize {
		return 0, fmt.Errorf("the cosignature of %s has another size", signature.Name)
	}
	return int64(binary.BigEndian.Uint64(octets[4:])), nil
}
