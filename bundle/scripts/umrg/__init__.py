"""Unified Medical Reasoning Grounding (MedReasoner): what is rewarded and measured of a box and two points."""
