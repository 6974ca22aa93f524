"""What `ampzero init` needs: the answers, the folder that is made of them, git, and writing it again."""
