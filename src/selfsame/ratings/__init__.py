"""Do the numbers agree with people?"""
