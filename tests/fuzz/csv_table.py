"""Fuzzes the reader of CSV tables; see common.py."""

from common import fuzz

if __name__ == "__main__":
    fuzz("csv", "annotations.csv")
