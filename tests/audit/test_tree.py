"""The Merkle tree is that of RFC 6962: an implementation that was not written here agrees, and so does the RFC's own text."""

from __future__ import annotations

import random
from hashlib import sha256
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree, verify_consistency

from shared.events.audit import verify_log
from shared.events.audit.note import BadNote, Checkpoint, PublicKey, SigningKey, opened
from shared.events.audit.tree import (
    EMPTY,
    Frontier,
    consistency_path,
    consistent,
    fold,
    inclusion_path,
    pieces,
    root_of_inclusion,
)

SIZES = 300
LOG = "0123456789abcdef" * 2


def entry(number: int) -> bytes:
    return f"record {number}".encode()


def leaf(number: int) -> bytes:
    return sha256(b"\x00" + entry(number)).digest()


class Tree:
    """All leaves, and the hash of any range of them."""

    def __init__(self, size: int) -> None:
        self.leaves = [leaf(number) for number in range(size)]
        self._known: dict[tuple[int, int], bytes] = {}
        frontier = Frontier()
        for each in self.leaves:
            self._known.update({(level, number): found for level, number, found in frontier.add(each)})

    def over(self, start: int, end: int) -> bytes:
        return fold([self._known[piece] for piece in pieces(start, end)])

    def root(self, size: int) -> bytes:
        return self.over(0, size)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree(SIZES)


@pytest.fixture(scope="module")
def theirs() -> InmemoryTree:
    found = InmemoryTree(algorithm="sha256")
    for number in range(SIZES):
        found.append_entry(entry(number))
    return found


# The definitions of RFC 6962, 2.1, word for word.
def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = largest(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def largest(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = largest(len(leaves))
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = largest(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def test_the_head_is_theirs_for_every_size(tree: Tree, theirs: InmemoryTree) -> None:
    frontier, single = Frontier(), verify_log.Tree()
    for size in range(SIZES + 1):
        assert frontier.root == single.root() == tree.root(size) == theirs.get_root(size) == mth(tree.leaves[:size])
        if size < SIZES:
            frontier.add(tree.leaves[size])
            single.add(tree.leaves[size])
    assert theirs.get_root(0) == EMPTY


def test_the_inclusion_proof_is_theirs_for_every_leaf_of_every_size(tree: Tree, theirs: InmemoryTree) -> None:
    for size in range(1, SIZES + 1):
        root = tree.root(size)
        for index in range(size) if size < 70 else {0, 1, size // 3, size // 2, size - 2, size - 1}:
            proof = [tree.over(*each) for each in inclusion_path(index, size)]
            # Theirs names the leaf itself first.
            assert theirs.prove_inclusion(index + 1, size).path == [tree.leaves[index], *proof]
            assert root_of_inclusion(tree.leaves[index], index, size, proof) == root
            assert verify_log.inclusion_root(tree.leaves[index], index, size, proof) == root


def test_every_two_sizes_are_proven_consistent_as_they_and_the_rfc_say(tree: Tree, theirs: InmemoryTree) -> None:
    """Their proofs of consistency name other nodes than the RFC's: it is compared that both hold, and ours word for word
    with the RFC."""
    for new in range(1, SIZES + 1):
        for old in range(1, new + 1) if new < 40 else {1, 2, new // 3, new // 2, new - 1, new, largest(new)}:
            proof = [tree.over(*each) for each in consistency_path(old, new)]
            assert proof == subproof(old, tree.leaves[:new], True)
            roots = tree.root(old), tree.root(new)
            assert consistent(old, roots[0], new, roots[1], proof)
            assert verify_log.is_consistent(old, roots[0], new, roots[1], proof)
            verify_consistency(*roots, theirs.prove_consistency(old, new))


def test_large_random_sizes_agree() -> None:
    chance = random.Random(7)
    tree, theirs = Tree(20_000), InmemoryTree(algorithm="sha256")
    for number in range(20_000):
        theirs.append_entry(entry(number))
    for _ in range(25):
        size = chance.randrange(300, 20_001)
        index, old = chance.randrange(size), chance.randrange(1, size)
        assert tree.root(size) == theirs.get_root(size)
        assert theirs.prove_inclusion(index + 1, size).path[1:] == [tree.over(*e) for e in inclusion_path(index, size)]
        proof = [tree.over(*each) for each in consistency_path(old, size)]
        assert verify_log.is_consistent(old, theirs.get_root(old), size, theirs.get_root(size), proof)


@given(st.integers(1, SIZES), st.data())
def test_a_proof_with_any_bit_or_length_changed_proves_nothing(size: int, data: st.DataObject) -> None:
    tree = Tree(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    inclusion = [tree.over(*each) for each in inclusion_path(index, size)]
    consistency = [tree.over(*each) for each in consistency_path(old, size)]
    for proof in (inclusion, consistency):
        changed = list(proof)
        if changed and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(changed) - 1))
            changed[at] = sha256(changed[at]).digest()
        elif changed and data.draw(st.booleans()):
            changed.pop(data.draw(st.integers(0, len(changed) - 1)))
        else:
            changed.insert(data.draw(st.integers(0, len(changed))), bytes(32))
        for including in (root_of_inclusion, verify_log.inclusion_root):
            if proof is inclusion:
                assert including(tree.leaves[index], index, size, changed) != tree.root(size)
        for proving in (consistent, verify_log.is_consistent):
            if proof is consistency:
                assert not proving(old, tree.root(old), size, tree.root(size), changed)


def test_a_right_edge_goes_on_from_its_bytes_and_takes_whole_subtrees(tree: Tree) -> None:
    for one, other in pairwise((0, 1, 7, 64, 100, 255, 256, 257, 300)):
        frontier = Frontier.of_bytes(
            one, bytes(Frontier(one, [tree.over(n << v, (n + 1) << v) for v, n in pieces(0, one)]))
        )
        for level, number in pieces(one, other):
            frontier.add(tree.over(number << level, (number + 1) << level), level)
        assert (frontier.size, frontier.root) == (other, tree.root(other))
    with pytest.raises(ValueError, match="no subtree of level 3"):
        Frontier(1, [bytes(32)]).add(bytes(32), 3)
    with pytest.raises(ValueError, match="peaks"):
        Frontier(3, [bytes(32)])


def test_the_verifier_believes_exactly_the_signatures_that_the_library_makes() -> None:
    chance = random.Random(11)
    for size in range(12):
        seed, message = chance.randbytes(32), chance.randbytes(size * 7)
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public, signature = key.public_key().public_bytes_raw(), key.sign(message)
        assert verify_log.ed25519_verifies(public, signature, message)
        for at in chance.sample(range(512), 4):
            broken = bytearray(signature)
            broken[at // 8] ^= 1 << at % 8
            assert not verify_log.ed25519_verifies(public, bytes(broken), message)
        assert not verify_log.ed25519_verifies(public, signature, message + b"x")
        # The same signature with the group's order added is another one: malleable signatures are refused.
        s = int.from_bytes(signature[32:], "little") + verify_log.ORDER
        assert not verify_log.ed25519_verifies(public, signature[:32] + s.to_bytes(32, "little"), message)


def test_the_verifier_knows_the_test_vectors_of_rfc_8032() -> None:
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify_log.ed25519_verifies(public, signature, b"\x72")
    assert not verify_log.ed25519_verifies(public, signature, b"\x73")


def test_a_checkpoint_is_a_signed_note_that_both_readers_open() -> None:
    key, other = SigningKey.new(), SigningKey.new()
    checkpoint = Checkpoint(LOG, 7, bytes(range(32)))
    note = checkpoint.signed([key, other])
    assert note.startswith(f"{LOG}\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n\u2014 {LOG} ")
    for each in (key, other):
        public = each.public(LOG)
        assert PublicKey.parse(str(public)) == public
        assert opened(note, [public]) == checkpoint
        assert verify_log.Checkpoint(note, [verify_log.read_key(str(public))], "it").signed_by == [public.id.hex()]
    stranger = SigningKey.new().public(LOG)
    foreign = PublicKey("f" * 32, key.public(LOG).key)
    for broken, keys in (
        (note, [stranger]),
        (note, [foreign]),
        (note.replace("\n7\n", "\n8\n"), [key.public(LOG)]),
        (note.replace("\n7\n", "\n07\n"), [key.public(LOG)]),
        (note.replace("AAEC", "AQEC"), [key.public(LOG)]),
        (note.replace("\n\n", "\nmore\n\n"), [key.public(LOG)]),
        (note[:-1], [key.public(LOG)]),
        (checkpoint.text, [key.public(LOG)]),
        ("", [key.public(LOG)]),
    ):
        with pytest.raises(BadNote):
            opened(broken, keys)
        with pytest.raises(verify_log.Problem):
            verify_log.Checkpoint(broken, [verify_log.read_key(str(each)) for each in keys], "it")


def test_a_key_is_kept_as_pem_and_says_what_is_wrong_with_others() -> None:
    key = SigningKey.new()
    assert SigningKey.of_pem(key.pem.encode()).public(LOG) == key.public(LOG)
    with pytest.raises(BadNote, match="PEM"):
        SigningKey.of_pem(b"secret")
    text = str(key.public(LOG))
    for broken in (text[:-4], text.replace(LOG, "0" * 32), "no key", ""):
        with pytest.raises(BadNote):
            PublicKey.parse(broken)
