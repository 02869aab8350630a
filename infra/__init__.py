"""The CDK app: a data stack that is retained, an online stack that is not."""
