"""Alerts: which calls and which counts of calls somebody is to hear of, how often, and in which words.

`rules` are the settings, `sightings` what a call is to each rule, `windows` what many are, `groups` when it is told.
"""
