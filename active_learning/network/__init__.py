"""The network: Mask R-CNN with dropout, its training, evaluation, prediction and Monte-Carlo passes."""
