"""Does a warm-up on cheap AI preference labels help when human labels are scarce?"""
