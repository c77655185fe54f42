"""The log as evidence: a Merkle tree over its records, signed checkpoints, proofs, exports, and what checks them.

``verify_log.py`` in this folder is a program of its own: it uses nothing of this package, so that an auditor can read and
run it alone.
"""
