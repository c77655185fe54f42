"""The manifests of every overlay: rendered, validated, and held against what this project wants of them."""
