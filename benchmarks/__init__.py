"""Measurements that a user can run; never part of the tests."""
