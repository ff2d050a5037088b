"""Fuzzes the reader of Label Studio; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("label_studio", "project.json")
