locals {
  aws_policies = "arn:${var.partition}:iam::aws:policy"
}

resource "aws_iam_role" "cluster" {
  name_prefix = "${var.name}-cluster-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "cluster" {
  role       = aws_iam_role.cluster.name
  policy_arn = "${local.aws_policies}/AmazonEKSClusterPolicy"
}

resource "aws_iam_role" "nodes" {
  name_prefix = "${var.name}-nodes-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "nodes" {
  for_each = toset(["AmazonEKSWorkerNodePolicy", "AmazonEKS_CNI_Policy", "AmazonEC2ContainerRegistryPullOnly"])

  role       = aws_iam_role.nodes.name
  policy_arn = "${local.aws_policies}/${each.key}"
}

resource "aws_iam_role" "disks" {
  name_prefix = "${var.name}-disks-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy_attachment" "disks" {
  role       = aws_iam_role.disks.name
  policy_arn = "${local.aws_policies}/service-role/AmazonEBSCSIDriverPolicy"
}
