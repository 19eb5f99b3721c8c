"""What a lesson needs: packs, requirements, comparisons, explanations, and a scrubber for notebooks."""
