"""ONNX Runtime, for all frameworks whose tensor models end in a session of it: what it offers, its files, its sessions, and what it says when it fails."""
