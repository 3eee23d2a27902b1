"""Drills: known defects, seeded on the ordinary path, that the gates must catch.

Each drill runs `python -m gates run` as a process on a small tree of its own, made from the real spec: once as it is (the
control, which must pass) and once with the defect. An independent probe then says whether the defect was reached and had its
effect, and the inner report whether the named criterion caught it.
"""
