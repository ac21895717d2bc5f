"""T2 lesions, enhancing lesions, black holes, and their tracking over visits."""
