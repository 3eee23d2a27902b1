"""What clients saw: operations recorded compactly, read back, and generic statements over them.

A history is a sequence of `model.Operation`. `record` writes and reads it, `statements` holds pure functions over it.
"""
